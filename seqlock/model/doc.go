// Package model checks the protocol of packages seqlock and shm as a model: in
// Promela, with spin, which walks through every order in which the steps of a
// writer that may die anywhere, its successors, and two readers can happen.
// There is no Go code to import; the tests are all there is.
//
// There are three models, one for each question, each small enough to be
// exhausted within stated bounds:
//
//	ring.pml    Is what a reader accepts always one whole generation?
//	notify.pml  Does every sleeper see the next publication or attach?
//	retire.pml  Do all followers end at the region file that is at the path?
//
// Each names its bounds and its promises at its top, and beside each step the
// function that takes it. The models lean on no sum: what they show holds on
// the sequences alone.
//
// A model that can't fail shows nothing, so the protocol is also broken on
// purpose in every way that the table in model_test.go names, and a run in
// which spin does not find the broken promise is a failed test.
//
//	go test ./seqlock/model           K = 2, and the chief mutations
//	go test ./seqlock/model -v -full  K = 2, 3 and 4, every mutation, and the figures
//
// It needs Debian's package spin, and gcc.
package model
