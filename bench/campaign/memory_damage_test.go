//go:build linux

package campaign

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/shmtest"
)

var (
	memoryHarmed = flag.Int("memory.harms", 6, "how many kinds of damage are done to a region under its daemon and readers, by chance; more than there are go round")
	memoryMinute = flag.Bool("memory.minute", false, "give the daemon the minute in which it finds damage inside an image by itself")
)

// Offsets in a region's file; see docs/FORMAT.md.
const (
	memoryHot     = 0x80
	memoryWriter  = 0x100
	memoryTable   = 0x1000
	memorySlots   = 0x8000
	memorySlot    = 64 << 10
	memorySlotNum = 3
)

// memoryHarm is a kind of damage to a region that a daemon and readers use.
type memoryHarm struct {
	name string
	do   func(h *memoryHost) error
	// published says that the daemon notices nothing until it publishes, or
	// compares the whole image, which it does once a minute. Readers have what they
	// had or an error until then.
	published bool
	// none says that there is nothing to repair.
	none bool
}

// memoryWrite overwrites a part of the region's file.
func memoryWrite(h *memoryHost, at int64, b []byte) error {
	f, err := os.OpenFile(h.file(), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, at)
	return errors.Join(err, f.Close())
}

func memoryNoise(from, to int64) func(*memoryHost) error {
	return func(h *memoryHost) error {
		return memoryWrite(h, from, chanceBytes(h.chance, int(to-from)))
	}
}

func memoryTruncate(size func(h *memoryHost) int64) func(*memoryHost) error {
	return func(h *memoryHost) error { return os.Truncate(h.file(), size(h)) }
}

// slotAt is where the slot of the current generation, or of one that many later,
// begins.
func (h *memoryHost) slotAt(later uint64) int64 {
	h.Helper()
	_, g, err := h.look()
	ok(h, err)
	return memorySlots + int64((g+later)%memorySlotNum)*memorySlot
}

// put replaces the region's file by another file.
func (h *memoryHost) put(b []byte) error {
	aside := filepath.Join(filepath.Dir(h.region), "aside")
	return errors.Join(os.WriteFile(aside, b, 0o644), os.Rename(aside, h.file()))
}

func memoryFlip(from, to func(*memoryHost) int64) func(*memoryHost) error {
	return func(h *memoryHost) error {
		at := from(h) + h.chance.Int64N(to(h)-from(h))
		b := make([]byte, 1)
		f, err := os.OpenFile(h.file(), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		_, err = f.ReadAt(b, at)
		b[0] ^= 1 << h.chance.IntN(8)
		if err == nil {
			_, err = f.WriteAt(b, at)
		}
		return errors.Join(err, f.Close())
	}
}

func memoryAt(at int64) func(*memoryHost) int64 { return func(*memoryHost) int64 { return at } }

// memoryEntry is where something is in the slot table's entry of the current
// generation.
func memoryEntry(at int64) func(*memoryHost) int64 {
	return func(h *memoryHost) int64 { return memoryTable + (h.slotAt(0)-memorySlots)/memorySlot*128 + at }
}

// The image in the tests has its header, its table of names, its entries and
// its revision in the first kilobyte.
const memoryDirectory = 128 + 64 + 3*64

var memoryHarms = []memoryHarm{
	{name: "file removed", do: func(h *memoryHost) error { return os.Remove(h.file()) }},
	{name: "directory removed", do: func(h *memoryHost) error { return shmtest.RemoveAll(h.region) }},
	{name: "directory moved away", do: func(h *memoryHost) error {
		return errors.Join(shmtest.RemoveAll(h.region+".old"), os.Rename(h.region, h.region+".old"))
	}},
	{name: "directory replaced", do: func(h *memoryHost) error {
		return errors.Join(shmtest.RemoveAll(h.region+".old"), os.Rename(h.region, h.region+".old"), os.Mkdir(h.region, 0o755))
	}},
	{name: "directory replaced by a copy", do: func(h *memoryHost) error {
		b, err := os.ReadFile(h.file())
		return errors.Join(err, shmtest.RemoveAll(h.region+".old"), os.Rename(h.region, h.region+".old"),
			os.Mkdir(h.region, 0o755), os.WriteFile(h.file(), b, 0o644))
	}},
	{name: "replaced by nothing much", do: func(h *memoryHost) error { return h.put([]byte("x")) }},
	{name: "replaced by noise", do: func(h *memoryHost) error {
		return h.put(chanceBytes(h.chance, memorySlots+memorySlotNum*memorySlot))
	}},
	{name: "replaced by a copy", do: func(h *memoryHost) error {
		b, err := os.ReadFile(h.file())
		return errors.Join(err, h.put(b))
	}},
	{name: "replaced by a link", do: func(h *memoryHost) error {
		return errors.Join(os.Rename(h.file(), h.region+".file"), os.Symlink(h.region+".file", h.file()))
	}},
	{name: "replaced by a FIFO", do: func(h *memoryHost) error {
		return errors.Join(os.Remove(h.file()), unix.Mkfifo(h.file(), 0o644))
	}},
	{name: "truncated to 0", do: memoryTruncate(func(*memoryHost) int64 { return 0 })},
	{name: "truncated in the identity", do: memoryTruncate(func(*memoryHost) int64 { return 0x40 })},
	{name: "truncated in the table", do: memoryTruncate(func(*memoryHost) int64 { return memoryTable + 100 })},
	{name: "truncated in the current slot", do: memoryTruncate(func(h *memoryHost) int64 { return h.slotAt(0) + 1000 })},
	{name: "truncated in the next slot", do: memoryTruncate(func(h *memoryHost) int64 { return h.slotAt(1) + 1000 })},
	{name: "a byte too short", do: memoryTruncate(func(*memoryHost) int64 { return memorySlots + memorySlotNum*memorySlot - 1 })},
	{name: "a byte too long", do: func(h *memoryHost) error {
		f, err := os.OpenFile(h.file(), os.O_WRONLY|os.O_APPEND, 0) // which a seal lets root do
		if err != nil {
			return err
		}
		_, err = f.WriteString("x")
		return errors.Join(err, f.Close())
	}},
	{name: "file chmodded to nothing", do: func(h *memoryHost) error { return os.Chmod(h.file(), 0) }},
	{name: "file chmodded for all", do: func(h *memoryHost) error { return os.Chmod(h.file(), 0o666) }},
	{name: "directory chmodded to nothing", do: func(h *memoryHost) error { return os.Chmod(h.region, 0) }},
	{name: "directory chmodded for all", do: func(h *memoryHost) error { return os.Chmod(h.region, 0o777) }},
	{name: "file given a second name", do: func(h *memoryHost) error {
		return errors.Join(shmtest.RemoveAll(h.region+".link"), os.Link(h.file(), h.region+".link"))
	}},
	{name: "file given away", do: func(h *memoryHost) error { return os.Chown(h.file(), trustStranger, -1) }},
	{name: "noise over everything", do: memoryNoise(0, memorySlots+memorySlotNum*memorySlot)},
	{name: "noise over the identity", do: memoryNoise(0, memoryHot)},
	{name: "noise over the hot word", do: memoryNoise(memoryHot, memoryHot+8)},
	{name: "noise over the table", do: memoryNoise(memoryTable, memorySlots)},
	{name: "zeros over everything", do: func(h *memoryHost) error {
		return memoryWrite(h, 0, make([]byte, memorySlots+memorySlotNum*memorySlot))
	}},
	{name: "retired by hand", do: func(h *memoryHost) error {
		_, g, err := h.look()
		return errors.Join(err, memoryWrite(h, memoryHot, binary.LittleEndian.AppendUint64(nil, g<<1|1)))
	}},
	{name: "noise over the status", do: memoryNoise(memoryWriter, memoryTable), none: true},
	{name: "noise over the slots", do: memoryNoise(memorySlots, memorySlots+memorySlotNum*memorySlot), published: true},
	{name: "noise over the current slot", published: true, do: func(h *memoryHost) error {
		at := h.slotAt(0)
		return memoryNoise(at, at+memorySlot)(h)
	}},
	{name: "noise over the next slot", none: true, do: func(h *memoryHost) error {
		at := h.slotAt(1)
		return memoryNoise(at, at+memorySlot)(h)
	}},
	{name: "a bit of the header", do: memoryFlip(memoryAt(0), memoryAt(memoryHot+8))},
	{name: "a bit of the directory", published: true, do: memoryFlip(
		func(h *memoryHost) int64 { return h.slotAt(0) }, func(h *memoryHost) int64 { return h.slotAt(0) + memoryDirectory })},
	{name: "a bit of the sequence", do: memoryFlip(memoryEntry(0), memoryEntry(8))},
	{name: "a bit of the length", published: true, do: memoryFlip(memoryEntry(8), memoryEntry(16))},
}

// memoryHosts is how many regions are damaged at a time.
var memoryHosts = 6

// Whatever happens to a region's file and directory under a daemon and its readers,
// readers keep the last good revision or get a documented error, and the daemon
// repairs the region by itself.
func TestMemoryDamage(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("readers that are other users take root")
	}
	done := map[string]int{}
	reads, refusals, held := 0, 0, 0
	var slowest time.Duration
	for _, seal := range []bool{false, true} {
		parent := memory(t)
		ok(t, os.Chmod(parent, 0o755))
		if seal {
			parent = memoryTmpfs(t, 16<<10) // is unmounted with its sealed files
			memoryNeedsSeals(t, parent)
		}
		var all []*memoryHost
		for i := range memoryHosts {
			dir := filepath.Join(parent, fmt.Sprint(i))
			ok(t, os.Mkdir(dir, 0o755))
			h := newMemoryHost(t, dir, "--slots=3", "--max-image=64KiB", fmt.Sprintf("--seal=%v", seal))
			h.start()
			h.reader = memoryReadAs(t, trustStranger, h.region) // a user that modes keep out
			all = append(all, h)
		}
		var order []int
		random := chance(t.Name())
		for len(order) < *memoryHarmed {
			order = append(order, random.Perm(len(memoryHarms))...)
		}
		for batch := range slices.Chunk(order[:*memoryHarmed], memoryHosts) {
			took, kept := memoryBatch(t, all, batch, seal)
			slowest = max(slowest, took)
			held += kept
			for _, n := range batch {
				done[memoryHarms[n].name]++
			}
		}
		for _, h := range all {
			r, f := h.reader.end()
			reads, refusals = reads+r, refusals+f
			h.stop()
		}
	}
	report(t, "what happens to the region's file and directory harms no reader, and is repaired",
		fmt.Sprintf("%d kinds of damage, %d times, with the seal and without (which kept %d of them away); %d revisions proven by readers, %d new readers told an error",
			len(done), 2**memoryHarmed, held, reads, refusals),
		fmt.Sprintf("no reader, and no byte; repaired within %v", slowest.Round(10*time.Millisecond)))
}

// Readers of a foreign file at the region's path are notified, too, when the daemon
// has made a new one.
func TestMemoryCopyIsRetired(t *testing.T) {
	t.Parallel()
	h := newMemoryHost(t, memory(t), "--slots=3", "--max-image=64KiB")
	h.start()
	h.reader = memoryRead(t, h.region)
	h.reader.sees("at first", 1)
	told := 0
	for range 3 {
		b, err := os.ReadFile(h.file())
		ok(t, err)
		ok(t, h.put(b))
		r, err := shm.Open(h.region, shm.Trust{})
		ok(t, err)
		if r.Retired() {
			continue // the daemon was faster
		}
		await(t, "the copy to be retired", r.Retired)
		told++
		h.publish(1000)
		h.reader.sees("after a copy", h.number)
	}
	h.reader.end()
	h.stop()
	report(t, "readers of a file that was put at the path are told of the next", fmt.Sprintf("%d copies", told), "nothing")
}

// memoryBatch does one harm to each host, and waits for all to be repaired.
func memoryBatch(t *testing.T, all []*memoryHost, batch []int, seal bool) (slowest time.Duration, held int) {
	t.Helper()
	was := make([]string, len(batch)) // the regions' ids
	for i := range batch {
		h := all[i]
		h.reader.sees("before", h.number)
		was[i], _, _ = h.look()
	}
	began := time.Now()
	kept := make([]bool, len(batch))
	for i, n := range batch {
		harm := memoryHarms[n]
		err := harm.do(all[i])
		if seal && errors.Is(err, unix.EPERM) {
			kept[i] = true // the seal prevented it
			held++
			memoryUndo(all[i])
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", harm.name, err)
		}
	}
	for i, n := range batch {
		h, harm := all[i], memoryHarms[n]
		if harm.none || harm.published && !*memoryMinute || kept[i] && strings.HasPrefix(harm.name, "directory") {
			continue
		}
		repaired := func() bool {
			h.alive()
			id, _, err := h.look()
			return err == nil && (id != was[i] || kept[i])
		}
		if harm.published { // takes longer than await waits
			for deadline := time.Now().Add(2 * time.Minute); !repaired() && time.Now().Before(deadline); time.Sleep(time.Second) {
			}
		}
		await(t, harm.name+" to be repaired", repaired)
		h.reader.sees(harm.name, h.number)
	}
	slowest = time.Since(began)
	for i := range batch {
		all[i].publish(1000)
	}
	for i, n := range batch {
		all[i].reader.sees(memoryHarms[n].name+", and a revision later", all[i].number)
		all[i].alive()
	}
	return slowest, held
}

// memoryUndo brings back the directory of a region whose file could not be
// moved.
func memoryUndo(h *memoryHost) {
	if _, err := os.Stat(h.file()); err == nil {
		return
	}
	if _, err := os.Stat(h.region + ".old"); err == nil {
		_ = shmtest.RemoveAll(h.region)
		_ = os.Rename(h.region+".old", h.region)
	}
}

// memoryNeedsSeals skips where a file system has no append-only files.
func memoryNeedsSeals(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "probe"))
	ok(t, err)
	defer f.Close()
	if err := memoryAppendOnly(f, true); err != nil {
		t.Skipf("no append-only files here: %v", err)
	}
	ok(t, memoryAppendOnly(f, false))
}

// memoryAppendOnly sets or clears a seal.
func memoryAppendOnly(f *os.File, on bool) error {
	const appendOnly = 0x20
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		return err
	}
	flags &^= appendOnly
	if on {
		flags |= appendOnly
	}
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)
}
