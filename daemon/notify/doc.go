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
// A manager that does not read its socket holds up no publication: messages
// leave from a goroutine of their own, and what is not sent yet is replaced by
// what is newer. What the source says can't add a line to a message. Without a
// manager nothing is done.
package notify
