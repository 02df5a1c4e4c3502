// Package control is the daemon's query socket, and its client. SocketName in the
// region's directory answers all users that can read the region, over HTTP and in JSON:
//
//	/v1/status                     how the daemon stands
//	/v1/layers                     its sources, the lowest first
//	/v1/why?config=NAME&key=KEY    where a value comes from, the winner first
//
//	curl --unix-socket /dev/shm/statesync/query.sock http://localhost/v1/status
//
// # What it promises
//
// Looking changes nothing. The socket has the region's group, and lets those connect
// that the region's mode lets read: they see values that they could read anyway, and
// those of lower layers that were overruled. Connecting works through a read-only
// mount. A client checks that the process at the other end is one that it trusts to
// write the region.
//
// The socket is no part of the region. It may be missing, and a failure to make it is
// logged and tried again each second; publishing does not depend on it. If the region's
// directory is removed or replaced, the new one gets a socket. Its path may be longer
// than that of a socket's address. A daemon that died leaves its file, which refuses
// connections until the next daemon replaces it.
//
// Every client is taken to be hostile, as package httpd has it. Of those that ask for
// the origin of a value, which reads files anew, one is answered at a time, and only if
// there is memory for it.
package control
