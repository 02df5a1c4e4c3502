// Package e2e tries the manifests of deploy on the cluster that KUBECONFIG
// names, by kubectl, and prints what it measured: docs/KUBERNETES.md has a
// record. It has no part in "make test": run it with "make e2e-kubernetes". It
// makes namespaces that begin with statesync-e2e, and removes them; on each node
// it leaves /dev/shm/statesync/e2e-* and /var/lib/statesync/e2e-*.
package e2e
