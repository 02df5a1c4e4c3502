//go:build race

package writer

// raceDetector says that atomic operations are calls into the race detector's
// own code, on another stack. A fault in there ends the process, whatever was
// deferred, if the memory went away after Go's part had looked at it.
const raceDetector = true
