package layout

import (
	"runtime"
	"runtime/debug"
	"unsafe"

	"github.com/statesync/statesync/seqlock"
)

// Memory of a mapping vanishes when its file is truncated, and on a full file
// system a hole has no page to give. An access is then a SIGBUS, which kills the
// process unless debug.SetPanicOnFault was called before.

// fault is the panic that SetPanicOnFault makes of it.
type fault interface {
	runtime.Error
	Addr() uintptr
}

// contains reports whether an address is in the mapping.
func (l *Layout) contains(addr uintptr) bool {
	start := uintptr(unsafe.Pointer(unsafe.SliceData(l.Words)))
	return addr >= start && addr < start+uintptr(len(l.Words)*WordBytes)
}

// RecoverFault ends an access to the mapping. Defer it with what
// SetPanicOnFault(true) returned. A fault in the mapping sets err to ErrFault; any
// other panic continues.
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
