//go:build tools

// Package tools names the registry that images are pushed to, so that go.mod and go.sum hold all
// that it is built from.
package tools

import (
	_ "github.com/google/go-containerregistry/cmd/registry"
)
