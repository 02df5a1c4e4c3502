// Command fleet measures a fleet on one machine: hundreds of daemons, each with a region
// of its own, that follow a real Git server (git-http-backend behind TLS) and a web server
// with signed bundles. It changes both, lets them fail, and writes what that cost into
// docs/SCALING.md. It fails where a host went back, lost a value or saw a torn one.
//
//	make fleet HOSTS=500
//
// The servers and the hosts share the processors, which is most of what a change takes:
// the tables say how busy those were. The addresses are on the loopback interface, so
// nothing is lost or delayed on the way.
package main
