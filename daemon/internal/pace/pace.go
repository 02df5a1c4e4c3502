// Package pace has what a process does at intervals done at the same moments, so that a
// process at rest is woken once for all of it.
package pace

import "time"

// began differs from process to process, so that those of a host are not all woken at once.
var began = time.Now()

// Next returns the time until the next whole interval since the process began: more than
// 0, and at most the interval.
func Next(interval time.Duration) time.Duration {
	return interval - time.Duration(uint64(time.Since(began))%uint64(interval))
}
