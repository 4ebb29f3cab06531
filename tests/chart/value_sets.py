"""Values that people install the chart with: held to a review (`golden/`), to `helm lint` and to a
real API server."""

from tests.chart.rendered_chart import Values

VALUE_SETS: dict[str, Values] = {
    "least": {},
    "everything": {
        "images": {
            "pullSecrets": [{"name": "pull"}],
            "operator": {"digest": "sha256:" + "0" * 64},
            "trainer": {"registry": "other.example/gpu", "name": "trainer", "tag": "cuda13"},
        },
        "settings": {"writesPerSecond": 1.5e6, "writeBurst": 3_000_000, "logLevel": "debug"},
        "operator": {
            "replicas": 3,
            "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
            "podLabels": {"team": "training"},
            "podAnnotations": {"example.com/a": "b"},
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"key": "control", "operator": "Exists"}],
            "affinity": {
                "nodeAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {
                            "weight": 1,
                            "preference": {
                                "matchExpressions": [{"key": "cpu", "operator": "Exists"}]
                            },
                        }
                    ]
                }
            },
            "priorityClassName": "system-cluster-critical",
        },
        "verifier": {"enabled": True, "runtimeClassName": "gvisor", "podLabels": {"a": "b"}},
        "networkPolicies": {"apiServer": {"cidrs": ["10.0.0.1/32", "fd00::1/128"]}},
        "monitoring": {"create": "always", "labels": {"release": "prometheus"}},
        "test": {"storageClassName": "fast"},
    },
    "two-namespaces": {
        "namespaces": ["research", "teaching"],
        "crds": {"enabled": False},
        "rbac": {"aggregate": False},
        "verifier": {"enabled": True, "autoscaling": {"enabled": False}},
        "networkPolicies": {"prometheus": []},
        "monitoring": {"create": "always"},
    },
    "openshift": {
        "fullnameOverride": "trainer-control",
        "settings": {"podUser": -1, "podSecurity": "image"},
        "networkPolicies": {"enabled": False},
        "dashboards": {"enabled": False},
    },
}
