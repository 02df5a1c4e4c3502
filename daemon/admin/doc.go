// Package admin serves a daemon's metrics and health over HTTP, to Prometheus,
// to probes and to people.
//
//	/metrics   the metrics, in Prometheus' text format
//	/livez     200 while the daemon's loop turns, else 503
//	/readyz    200 while readers find a generation in the region, else 503
//	/healthz   200 while it is live, ready and fresh, else 503
//
// Live, ready and fresh are three different things. A daemon that is not live
// hangs, and a restart may help. One that is not ready has nothing to give to
// readers yet. One that is not fresh has not found its source good for a while:
// readers have the last good generation, and a restart would help nobody, so
// that no probe should be about it. All three answers have a line for each of
// the three, and one for what is refused and why; a client that accepts
// application/json gets that.
//
// # What it promises
//
// It only tells, and can be told nothing. It does not hold up the daemon, which
// takes no lock that it takes. It treats whoever connects as hostile: headers
// and bodies are bounded (8 KiB, none), and so are the time for each of them,
// the connections (64; one more is closed at once) and the concurrent
// collections of metrics. What metrics say of the outside, a revision's name,
// is cut and made plain, and is one series at a time. What it shows is what the
// region's status shows to every reader, and no config's content.
package admin
