// Package notify tells a service manager, such as systemd, how a daemon is
// doing, over the datagram socket that NOTIFY_SOCKET names.
//
//	READY=1      readers find a generation in the region: one that was
//	             published, or one that was there; and after each reload
//	STATUS=      a line for people: what is published, or what is refused and why
//	WATCHDOG=1   a turn of the daemon's loop has ended, and nothing else
//	RELOADING=1  a reload has begun, with MONOTONIC_USEC
//	STOPPING=1   the daemon is ending
//	EXTEND_TIMEOUT_USEC  at the start, which may wait for the daemon before
//
// # What it promises
//
// A manager that does not read its socket delays no publication: a goroutine of its
// own sends the messages, and a newer message replaces one that is not sent yet.
// Text from the source cannot add a line to a message. Without a manager the package
// does nothing.
package notify
