// Package bench holds the benchmarks behind FIGURES.md. They
// compare with a floor that is measured in the same run, since absolute times
// say more about the machine than about the code:
//
//	make bench                             everything, as a table with the bars
//	go test -bench Read ./bench            one group
//
// Where publisher and reader are timed apart, or processes are involved, a
// benchmark reports medians of its own (units such as p50-ns) instead of
// ns/op.
package bench
