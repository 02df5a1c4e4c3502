//go:build race

package client_test

// raceDetector says that atomic operations are calls into the race detector's
// own code. A fault in there ends the process, whatever was deferred.
const raceDetector = true
