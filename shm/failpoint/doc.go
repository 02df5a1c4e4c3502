// Package failpoint names the moments at which a writer of a region may die.
// The code that makes, attaches to, publishes into and replaces a region, and
// that keeps the daemon's state, says Here at each of them; so a test can kill
// a real daemon between any two of its steps.
//
// In an ordinary build Here is an empty function, of which the compiler leaves
// no instruction, and nothing looks at the environment. Only a build with the
// tag failpoints, on Linux, has more to it: there the variable FAILPOINT says
// what is to happen.
//
//	FAILPOINT=kill:publish.committed    SIGKILL at the first arrival there
//	FAILPOINT=stop:store.words:3        SIGSTOP at the third
//	FAILPOINT=trace                     a line "failpoint NAME" on standard error for each arrival
//
// It is a variable of no STATESYNC_ name, since the daemon refuses those that
// it does not know.
package failpoint

// Env is the variable that says what is to happen.
const Env = "FAILPOINT"
