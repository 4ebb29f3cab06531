//go:build tools

// Package tools names the program that schemas are held against, so that go.mod and go.sum hold all
// that it is built from.
package tools

import (
	_ "github.com/yannh/kubeconform/cmd/kubeconform"
)
