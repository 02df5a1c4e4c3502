// Package client reads the configuration that a StateSync daemon keeps in
// shared memory.
//
// # Two ways to read
//
// A [Binding] follows: [Binding.Get] is one load of the process's own memory,
// about half a nanosecond, and cannot be hurt by anything that happens to the
// region. One goroutine per client, the follower, sleeps until the daemon has
// published, and brings the bindings up to it. So Get is as fresh as the Go
// scheduler lets the follower be: some 30 µs on an idle machine, longer in a
// process that keeps all processors busy.
//
// A [Snapshot] is exact: [Client.Snapshot] looks at the region itself, and every
// publication that returned before it is in it. It costs about 10 ns. Take one
// per request; everything read through it, by [Binding.In] or [Snapshot.Get],
// is of one generation. Two Gets of two bindings may be of two generations.
//
//	c, err := client.Open("")
//	weights := client.Bind[Weights](c, "matchmaker")
//	…
//	w := weights.Get()         // follows
//	s := c.Snapshot()          // exact, and one generation
//	w, l := weights.In(s), limits.In(s)
//
// # What it promises
//
//   - Reading allocates nothing and makes no syscall between changes. After a
//     change, what the process uses of what changed is copied once and decoded
//     once per binding.
//   - What is accepted is whole: one generation, verified. A reader never goes
//     back to an older one within a region.
//   - A daemon that is dead, stopped or restarted takes nothing away. A damaged
//     or vanished region leaves the last good values; [Stats] says why.
//   - Bindings are never nil. A value that does not decode or is refused by
//     [WithValidate] is passed over, and [Binding.Err] says so.
//   - What is handed out is valid for ever, and shared: it must not be changed.
//     Package clienttest fails tests of programs that do.
//   - The application's code, in UnmarshalJSON, validation and hooks, may sleep,
//     panic or exit its goroutine. It stops neither other bindings nor the
//     follower nor Close.
//
// A client that may run where no daemon does is opened with [Lazy], and has its
// defaults there. The package imports golang.org/x/sys and
// github.com/cespare/xxhash and nothing else outside the standard library.
package client
