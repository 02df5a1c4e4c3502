// Package server starts the servers that the contestants of a comparison need,
// each a process of its own, on loopback or a unix socket, with a port that the
// kernel chose and its files in a folder that the caller gives. Each is stopped
// by its own process id, and dies with the process that started it.
//
// A program that uses it calls process.Main first, since the servers that are
// Go libraries (etcd, NATS, the HTTP agent, gRPC) run as parts of that program.
package server
