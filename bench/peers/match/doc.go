// Package match reproduces the table of the article that this project began
// with: a matchmaking service under load that needs its config for every
// request, with the config delivered in one way after the other.
//
//   - The load is an open loop: requests arrive at a stated rate, whatever became
//     of those before, and latency counts from the intended arrival. A stall
//     therefore counts for every request that was due during it.
//   - Service, load generator and every backend are processes of their own, and
//     a backend stops as a node that hangs does, by SIGSTOP.
//   - All ways get the same requests at the same times, in turn, round by round.
//   - A failed request is counted and has no latency.
package match
