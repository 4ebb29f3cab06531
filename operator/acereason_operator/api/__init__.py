"""The AceReasonRun resource as pydantic models; the CRD's schema comes out of them."""
