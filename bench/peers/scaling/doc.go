// Package scaling measures how the cost of configuration in shared memory
// grows: with the number of readers, of configs and of keys, with the size of
// the image, and with how often it changes.
//
//   - Readers are processes of their own, and so is the daemon where its CPU is
//     measured. The region, the client and the daemon are the project's own.
//   - What readers read is counted against the processor time that they had, and
//     not against the clock: 200 processes on a few processors mostly wait for
//     one another, and that says nothing about reading.
//   - Each figure is a median, or a sum over a stated time. Nothing is fitted
//     and nothing is extrapolated; docs/SCALING.md does that on paper, from the
//     figures that this package writes into it.
package scaling
