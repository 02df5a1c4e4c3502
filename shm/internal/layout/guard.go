package layout

import (
	"runtime"
	"runtime/debug"
	"unsafe"

	"github.com/statesync/statesync/seqlock"
)

// Memory of a mapping vanishes when its file is truncated, and a hole in it
// has no page to give on a full file system: the touch is then a SIGBUS, which
// kills the process unless debug.SetPanicOnFault was called before.

// fault is the panic that SetPanicOnFault makes of it.
type fault interface {
	runtime.Error
	Addr() uintptr
}

// contains says whether an address is in the mapping.
func (l *Layout) contains(addr uintptr) bool {
	start := uintptr(unsafe.Pointer(unsafe.SliceData(l.Words)))
	return addr >= start && addr < start+uintptr(len(l.Words)*WordBytes)
}

// RecoverFault ends a Guarded touch of the mapping. It is to be deferred, with
// what SetPanicOnFault(true) returned; a fault in the mapping sets err to
// ErrFault, any other panic goes on.
func (l *Layout) RecoverFault(old bool, err *error) {
	debug.SetPanicOnFault(old)
	e := recover()
	if e == nil {
		return
	}
	if f, ok := e.(fault); ok && l.contains(f.Addr()) {
		*err = ErrFault
		return
	}
	panic(e)
}

// Hot loads the hot word. The error is nil or ErrFault.
func (l *Layout) Hot() (hot seqlock.Hot, err error) {
	defer l.RecoverFault(debug.SetPanicOnFault(true), &err)
	return l.Ring.Hot(), nil
}

// Guarded runs touch and turns a fault in the mapping into ErrFault.
func (l *Layout) Guarded(touch func() error) (err error) {
	defer l.RecoverFault(debug.SetPanicOnFault(true), &err)
	return touch()
}
