//go:build tools

// Package tools names the programs of the cluster's nodes, so that go.mod and go.sum hold all that
// they are built from.
package tools

import (
	_ "k8s.io/kubernetes/cmd/kube-proxy"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
	_ "k8s.io/kubernetes/cmd/kubelet"
)
