// Package admin serves a daemon's metrics and health over HTTP, to Prometheus,
// to probes and to people.
//
//	/metrics   the metrics, in Prometheus' text format
//	/livez     200 while the daemon's loop turns, else 503
//	/readyz    200 while readers find a generation in the region, else 503
//	/healthz   200 while it is live, ready and fresh, and was not behind for long, else 503
//
// Live, ready, fresh and converged are different things. A daemon that is not live
// hangs, and a restart may help. A daemon that is not ready has published nothing for
// readers yet. One that is not fresh has not been able to look at a source for a while,
// and one that is not converged has not published what the sources have: readers have
// the last good generation, and a restart would not help, so no probe should restart it
// for that. A revision that is held back on purpose is healthy. All three answers have
// a line for each of the four, and one for what is refused and why. They are JSON for a
// client that accepts application/json.
//
// # What it promises
//
// The server is read-only. It does not block the daemon, which takes no lock that
// the server takes. It treats every client as hostile: headers and bodies are
// bounded (8 KiB, none), and so are the time for each of them, the connections
// (64; one more is closed at once) and the concurrent collections of metrics. The
// only external text in metrics is a revision's name, which is shortened, has
// characters that are not printable replaced, and is one series at a time. The
// server shows what the region's status shows to every reader, and no config's
// content.
package admin
