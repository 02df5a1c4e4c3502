package writer

import (
	"fmt"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/internal/layout"
)

// A slot is made for images of slotRoom times the size of the one that it is
// made for, and not smaller than minSlot bytes. So a region grows five times on
// the way from 64 KiB to 64 MiB, and a process that locks its memory, or
// touches all of its mapping, takes a small multiple of the image.
const (
	slotRoom = 4
	minSlot  = 256 << 10
)

// CheckLimits says what is wrong with a number of slots, or with a limit on the
// size of an image in bytes.
func CheckLimits(slots int, maxImage int64) error {
	if slots < seqlock.MinSlots || slots > seqlock.MaxSlots {
		return fmt.Errorf("%d slots: there must be %d to %d", slots, seqlock.MinSlots, seqlock.MaxSlots)
	}
	if maxImage <= 0 || maxImage > layout.MaxSlotSize {
		return fmt.Errorf("an image of at most %d bytes: it must be from 1 to %d", maxImage, int64(layout.MaxSlotSize))
	}
	return nil
}

// CheckSize reports whether an image of size bytes is within a limit; the error
// matches ErrTooLarge.
func CheckSize(size, maxImage int64) error {
	if size > maxImage {
		return fmt.Errorf("%w: it has %d bytes with its indexes, and the limit is %d", ErrTooLarge, size, maxImage)
	}
	return nil
}

// geometryFor is the geometry of a file that is made for an image of size
// bytes: the least power of two with room to grow, but no slot is larger than
// an image may be.
func geometryFor(slots int, size, maxImage int64) shm.Geometry {
	slot := int64(minSlot)
	for slot < slotRoom*size {
		slot *= 2
	}
	return shm.Geometry{Slots: slots, SlotSize: min(slot, (maxImage+layout.SlotAlign-1)/layout.SlotAlign*layout.SlotAlign)}
}
