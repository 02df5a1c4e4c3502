// Package client reads the configuration that a StateSync daemon keeps in
// shared memory.
//
// # Two ways to read
//
// A [Binding] follows. [Binding.Get] is one load of the process's own memory,
// about half a nanosecond, and nothing that happens to the region can hurt it. One
// goroutine per client, the follower, sleeps until the daemon publishes, and
// then brings the bindings up to date. Get is as fresh as the Go scheduler lets
// the follower be: some tenths of a millisecond on a quiet machine, some tens of
// milliseconds in a process that keeps all processors busy.
//
// A [Snapshot] is exact. [Client.Snapshot] looks at the region itself: every
// publication that returned before the call is in it. It costs about 10 ns. Take
// one per request; everything that is read through it, by [Binding.In] or
// [Snapshot.Get], is of one generation. Two Gets may be of two generations.
//
//	c, err := client.Open("")
//	weights := client.Bind(c, "matchmaker", client.Options[Weights]{Default: Weights{Elo: 1200}})
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
//   - A value is whole: of one generation, and verified. A reader never goes back
//     to an older one within a region.
//   - A daemon that is dead, stopped or restarted takes nothing away. A damaged or
//     vanished region leaves the last good values; [Stats] and the log say why.
//   - A value that does not decode, or that Validate rejects, is skipped: the
//     binding keeps the last one that it accepted. Get is never nil.
//   - What is handed out is valid for ever, and shared: it must not be changed.
//     Package clienttest fails tests of programs that do.
//   - The application's code, in UnmarshalJSON, validation, hooks and the log's
//     handler, may sleep, panic or exit its goroutine. It stops neither other
//     bindings nor the follower nor Close. A request waits for the decoding of the
//     value that it asks for, and never for a hook.
//
// # What a binding returns
//
// By what the config is in the newest generation (for Get and Err), or in a
// snapshot's (for In and Lookup):
//
//	config     Get, In                                Err, Lookup's error
//	accepted   its value                              nil
//	rejected   the last value accepted before it,     the reason
//	           or the default
//	removed    the last value accepted before,        ErrNotFound
//	           or the default
//	not there  the default                            ErrNotFound
//	no region  the default                            ErrNoRegion
//
// A binding keeps the value of a removed config, because a config that is removed
// by mistake must not send running services to defaults that were never meant
// for production. The log says so, and OnReject is called. A process that starts
// after the removal has the default, without either: it cannot know that there was
// a config. [Client.Bindings] shows both, and [Client.Ready] fails for both if the
// config is Required.
//
// # Decoding
//
// A document is decoded as encoding/json does it, with these additions.
//
// Every decoding starts from a copy of the default: what a config leaves out
// comes from there, at any depth.
//
//	in the config    in the value
//	a missing key    the default's
//	null             nil for a pointer, map, slice or interface; else the default's
//	an object        the default's, with the object's keys in their place
//	a list           the list alone: nothing of the default's; [] is empty, not nil
//	no config        the default
//
// The default's maps, slices and pointers are copied, so that it never shares
// memory with a decoded value. Unexported fields, and those with the tag "-", are
// copied as an assignment does it. A type with UnmarshalJSON or UnmarshalText is
// decoded by that method, which gets the copy if the type is a struct with exported
// fields, and a zero value else.
//
// A [time.Duration] is a string with a unit, like "15s" or "1h30m", anywhere in
// the value. A bare number is rejected: it would mean nanoseconds. Go cannot tell
// type Timeout time.Duration from another named int64: such a type takes both.
//
// With Strict, a field that the Go type does not have is a reason for rejection,
// with its whole path: a misspelt key is found. Without it, a key that a
// [BindKey] asks for and the config does not have is shown by [Client.Bindings],
// with the key that was probably meant.
//
// # Without a daemon
//
// A client that may run where no daemon does is opened with [Lazy], and has its
// defaults there. The package imports golang.org/x/sys and
// github.com/cespare/xxhash and nothing else outside the standard library.
package client
