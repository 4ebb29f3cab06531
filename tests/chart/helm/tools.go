//go:build tools

// Package tools names the programs of the chart's tests, so that go.mod and go.sum hold all that
// they are built from.
package tools

import (
	_ "helm.sh/helm/v3/cmd/helm"
)
