//go:build !unix

package layout

import "time"

// Boottime is 0.
func Boottime() time.Duration { return 0 }
