// Package failpoint names the moments at which a writer of a region may die.
// The code that makes, attaches to, publishes into and replaces a region, and
// that keeps the daemon's state, says Here at each of them; so a test can kill
// a real daemon between any two of its steps. The code that decodes says File, so
// that a test can plant a bug in a parser.
//
// In an ordinary build Here and File are empty functions, of which the compiler leaves
// no instruction, and nothing reads the environment. In a build with the tag
// failpoints, on Linux, the variable FAILPOINT says what happens.
//
//	FAILPOINT=kill:publish.committed    SIGKILL at the first arrival there
//	FAILPOINT=stop:store.words:3        SIGSTOP at the third
//	FAILPOINT=kill:store.words@grow.begin  SIGKILL at the first one from grow.begin on
//	FAILPOINT=hang:memory.record    the goroutine waits for ever, as for a disk that hangs
//	FAILPOINT=panic:plan.file=a.yaml    a panic each time that a.yaml is decoded
//	FAILPOINT=trace                     a line "failpoint NAME" on standard error for each arrival
//
// The actions besides kill, stop and hang are what a bug in a parser may do: panic; loop,
// which never ends; overflow, of the goroutine's stack; and memory, which takes more
// of it without end. With =FILE, only arrivals with that file count. A bug is there
// each time: without a count, =FILE is every arrival with that file.
//
// Its name does not begin with STATESYNC_, since the daemon refuses such variables
// that it does not know.
package failpoint

// Env is the variable that says what is to happen.
const Env = "FAILPOINT"
