// Package headroom is how much more memory this process may take before its
// memory cgroup has it killed. The limit is no error at an allocation, so the
// daemon asks before it decodes a revision and before a region reserves pages.
package headroom

import "errors"

// ErrFull says that the memory cgroups do not allow so much more.
var ErrFull = errors.New("the memory cgroup is nearly full")
