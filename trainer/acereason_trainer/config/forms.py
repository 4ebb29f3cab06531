"""Forms that strings must have, each with the words that explain it to a person."""

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
STAGE_NAME = r"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$"
SHORT_NAME = r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$"
COLUMN = r"^[A-Za-z_][A-Za-z0-9_]{0,62}$"
IMPORT_PATH = r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$"
DIGEST = r"^sha256:[0-9a-f]{64}$"
DURATION = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"
OBJECT_STORE = r"^(s3|gs)://[^/]+(/.*)?$"
ENVIRONMENT_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
VERIFIER_SERVICE = r"^(auto|local|https?://[A-Za-z0-9.\-\[\]:]+/?)$"

EXPLANATIONS = {
    DNS_LABEL: "use at most 63 lower-case letters, digits and -, with a letter or digit at both "
    "ends",
    STAGE_NAME: "use at most 40 lower-case letters, digits and -, a letter first and no - at the "
    "end, as in math-8k",
    SHORT_NAME: "use at most 40 lower-case letters, digits and -, with a letter or digit at both "
    "ends",
    COLUMN: "use at most 63 letters, digits and _, no digit first",
    IMPORT_PATH: "write package.module:function",
    DIGEST: "write sha256: and 64 hexadecimal digits, as the artifact's manifest shows it",
    DURATION: "write a number with h, m, s or ms, as in 1h30m or 90s",
    QUANTITY: "write a number, or one with a suffix, as in 500m or 16Gi",
    OBJECT_STORE: "write s3://bucket/prefix or gs://bucket/prefix",
    ENVIRONMENT_NAME: "use letters, digits and _, no digit first",
    VERIFIER_SERVICE: "write auto, local, or the address of a verifier, as in http://verifier:8321",
}
