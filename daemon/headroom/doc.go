// Package headroom reports how much more memory this process may take before its
// memory cgroup has it killed. An allocation beyond the limit returns no error, so
// the daemon asks before it decodes a revision and before a region reserves pages.
package headroom

import "errors"

// ErrFull says that the memory cgroups do not allow so much more.
var ErrFull = errors.New("the memory cgroup is nearly full")
