// The tests of bundles in an object store, in a module of their own, so that the store's
// dependencies stay out of the project's.
module github.com/statesync/statesync/bench/s3

go 1.26.0

replace github.com/statesync/statesync => ../..

require (
	github.com/johannesboyne/gofakes3 v1.2.0
	github.com/statesync/statesync v0.0.0-00010101000000-000000000000
	go.uber.org/goleak v1.3.0
	golang.org/x/mod v0.41.0
)

require (
	github.com/agnivade/levenshtein v1.2.2 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/ryszard/goskiplist v0.0.0-20150312221310-2dfbae5fcf46 // indirect
	go.shabbyrobe.org/gocovmerge v0.0.0-20230507111327-fa4f82cfbf4d // indirect
	golang.org/x/tools v0.51.0 // indirect
)
