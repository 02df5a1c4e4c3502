// Package campaign holds long-running tests of the promises in docs/RELIABILITY.md.
// Real daemons and real readers, each a process of its own, run while something
// damages, stops or kills them. Each file tests one promise. All tests have a short
// form in `make test`; flags set how long they run in `make campaign`.
package campaign
