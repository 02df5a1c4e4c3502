//go:build unix

package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/daemon/headroom"
	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/failpoint"
	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/writer"
)

// verifyInterval is how often the current image is compared with memory.
const verifyInterval = time.Minute

// errNotAsAsked is the error of a region that was published but could not be
// sealed. If the daemon continued, the next start, which has to attach to it, would
// fail where this one did not.
var errNotAsAsked = errors.New("the region is published, but not as asked")

// region is the daemon's state of the region: the writer, the content of its file,
// and what replaces the file when it is lost.
type region struct {
	w               *writer.Writer
	dir             fs.FileInfo // the directory that w has the lock of
	opt             Options
	log             *slog.Logger
	regions, losses uint64 // files that were made, and found gone or damaged
	state           *stateDir

	// held is the image in the file, or that was in it before it was lost; nil if
	// there was no usable one.
	held *image.Image
	// whole says that held is in the file and the file is at the path. If not,
	// the next image goes into a new file.
	whole bool
	// top is the highest generation that a reader may have seen anywhere.
	top uint64
	// left is the unusable region that was found at the start, until another takes
	// its place.
	left     *shm.Region
	verified time.Time       // when the current image was last compared with memory, or stored whole
	seenGood time.Duration   // by the previous writer
	before   shm.Observation // what the previous writer saw last
}

// own takes the region's directory and its lock.
func (r *region) own(ctx context.Context) error {
	o := r.opt.Writer
	o.Room = headroom.ForPages
	w, err := writer.Own(ctx, r.opt.Region, o)
	if err != nil {
		return err
	}
	dir, err := os.Lstat(r.opt.Region)
	if err != nil {
		return errors.Join(err, w.Close())
	}
	failpoint.Here("region.owned")
	r.w, r.dir = w, dir
	return nil
}

// attach continues the region at the path. An unusable one is left to its readers
// until there is an image to replace it with.
func (r *region) attach(s *stateDir) error {
	r.state = s
	r.warnOfSpace()
	if s != nil {
		r.top = s.reserved
	}
	there := r.survey()
	failpoint.Here("region.surveyed")
	err := r.w.Attach()
	if err == nil {
		err = r.load()
	}
	switch {
	case err == nil:
		r.whole, r.verified = true, time.Now()
		r.top = max(r.top, r.held.Generation())
		r.log.Info("attached", "region", r.w.Path(), "id", r.w.ID().String(), "generation", r.held.Generation(),
			"revision", r.held.Revision(), "configs", r.held.Len(), "bytes", r.held.Size())
		failpoint.Here("region.attached")
		s.reserve(r.held.Generation())
	case errors.Is(err, shm.ErrNoRegion):
		r.log.Info("no region yet; the first good revision will create it", "region", r.w.Path(), "above_generation", r.top)
	case errors.Is(err, writer.ErrSealed), errors.Is(err, fs.ErrPermission), r.opt.Writer.Seal && unsealable(err):
		return err
	default:
		r.left = there
		r.log.Warn("the region cannot be reused; the first good revision will replace it",
			"region", r.w.Path(), "above_generation", r.top, "error", err)
	}
	return nil
}

// unsealable says that a file system has no inode flags.
func unsealable(err error) bool {
	return errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, shm.ErrUnsupported)
}

// survey reads from the region at the path what Attach does not return: the last
// status of its writer, and the generation of a region that can be read but not
// continued, because it has another number of slots. It is nil if no region can be
// read.
func (r *region) survey() *shm.Region {
	there, err := shm.Open(r.opt.Region, shm.Trust{})
	if err != nil {
		return nil
	}
	if status, err := there.Status(); err == nil {
		if status.SourceGood <= shm.Boottime() { // on a disk, it may be of another boot
			r.seenGood = status.SourceGood
		}
		r.before = status.Observation
		r.before.SourceGood = r.seenGood
		r.w.Observe(r.before)
	}
	_, _ = there.Read(func(hot seqlock.Hot, _ []uint64) error {
		r.top = max(r.top, hot.Generation()) // its slot agrees, so these are not random bits
		return nil
	})
	return there
}

// salvage loads the image of an unusable region, which is newer than the one in
// the state directory. It is nil if there is no such region, or if it is damaged.
func (r *region) salvage() *image.Image {
	if r.left == nil {
		return nil
	}
	var m *image.Image
	_, err := r.left.Read(func(hot seqlock.Hot, words []uint64) (err error) {
		m, err = image.Load(words, hot.Generation())
		return err
	})
	if err != nil {
		return nil
	}
	return m
}

// newest is the generation that the region holds, or that an unusable one held; 0 if
// neither is known.
func (r *region) newest() uint64 {
	if r.left != nil && r.held == nil {
		if hot, err := r.left.Hot(); err == nil {
			return hot.Generation()
		}
	}
	return r.generation()
}

// load takes over what the attached file holds.
func (r *region) load() error {
	return r.w.Current(func(g uint64, words []uint64) error {
		m, err := image.Load(words, g)
		if err != nil {
			return fmt.Errorf("%s: generation %d: %w", r.w.Path(), g, err)
		}
		r.held = m
		return nil
	})
}

// put publishes content as the next generation, in a new file if the one that
// was there is lost. An error leaves the readers what they had.
func (r *region) put(c *content, began time.Time) error {
	r.check()
	before := r.held
	if r.whole {
		err := r.publish(c)
		if err == nil {
			r.published("published", before, began)
			return nil
		}
		if !errors.Is(err, writer.ErrLost) {
			return err
		}
		r.lose(err)
	}
	if err := r.moveIn(); err != nil {
		return err
	}
	committed, err := r.create(c)
	if committed {
		r.regions++
		r.published("published in a new region", before, began)
	}
	return err
}

// moveIn takes the region's directory and lock again if the directory was
// replaced.
func (r *region) moveIn() error {
	if r.inPlace() {
		return nil
	}
	old := r.w
	failpoint.Here("region.moving")
	now, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.own(now); err != nil {
		return err
	}
	// Readers that still map the old file learn that it is no longer written,
	// and look at the path.
	if err := old.Close(); err != nil {
		r.log.Warn("the old region cannot be closed", "error", err)
	}
	failpoint.Here("region.moved")
	return nil
}

// inPlace reports whether readers come to the directory that is owned.
func (r *region) inPlace() bool {
	dir, err := os.Lstat(r.opt.Region)
	return err == nil && os.SameFile(dir, r.dir)
}

// publish commits into the attached file.
func (r *region) publish(c *content) error {
	g := r.held.Generation() + 1
	m, err := image.Build(g, c.revision, c.sections, r.held)
	if err != nil {
		return err
	}
	failpoint.Here("region.built")
	r.state.reserve(g)
	failpoint.Here("region.allowed")
	slot := r.w.Geometry().SlotSize
	err = r.w.Publish(g, m.Words())
	grown := r.w.Attached() && r.w.Geometry().SlotSize != slot
	if grown {
		r.regions++
		r.log.Info("the region grew into a larger file", "region", r.w.Path(), "slot_bytes", r.w.Geometry().SlotSize, "before", slot)
		if err != nil { // of what follows the commit
			err = fmt.Errorf("%w: %w", errNotAsAsked, err)
		}
	}
	if err == nil || grown {
		r.held = m
		if !r.w.Kept() { // else parts of it are unseen since they were stored
			r.verified = time.Now()
		}
	}
	if err == nil || errors.Is(err, writer.ErrLost) { // a region may be lost right after the commit
		r.top = max(r.top, g)
	}
	return err
}

// create commits into a new file.
func (r *region) create(c *content) (committed bool, err error) {
	g := r.top + 1
	m, err := image.Build(g, c.revision, c.sections, nil)
	if err != nil {
		return false, err
	}
	failpoint.Here("region.rebuilt")
	r.state.reserve(g)
	failpoint.Here("region.reallowed")
	before := r.id()
	err = r.w.Create(g, m.Words())
	if id := r.id(); id == before || id == (shm.ID{}) { // a lock that is lost takes the old file with it
		return false, err
	}
	r.held, r.whole, r.top, r.verified, r.left = m, true, g, time.Now(), nil
	if err != nil {
		err = fmt.Errorf("%w: %w", errNotAsAsked, err)
	}
	return true, err
}

// published is what follows a commit. before is what the region held, nil for
// nothing.
func (r *region) published(how string, before *image.Image, began time.Time) {
	failpoint.Here("region.published")
	m := r.held
	took := time.Since(began)
	what := changesBetween(sectionsOf(before), m.Sections())
	attributes := append([]any{"generation", m.Generation()}, what.attributes()...)
	r.log.Log(context.Background(), what.level(), how, append(attributes, "revision", m.Revision(), "configs", m.Len(),
		"bytes", m.Size(), "took", took, "id", r.w.ID().String())...)
}

// id is the attached file's, zero without one.
func (r *region) id() shm.ID {
	if !r.w.Attached() {
		return shm.ID{}
	}
	return r.w.ID()
}

// generation is the one that readers have; 0 is none.
func (r *region) generation() uint64 {
	if r.held == nil {
		return 0
	}
	return r.held.Generation()
}

// check verifies that the file is still the one that readers find, and that it
// holds the generation that the daemon published. It makes six syscalls.
func (r *region) check() {
	if !r.whole {
		return
	}
	err := r.w.Check()
	if err == nil && !r.inPlace() {
		err = fmt.Errorf("%s: %w: the directory was removed or replaced", r.opt.Region, writer.ErrLost)
	}
	if err == nil {
		var g uint64
		if g, err = r.w.Generation(); err == nil && g != r.held.Generation() {
			err = fmt.Errorf("%s: %w: another process made it generation %d", r.w.Path(), writer.ErrLost, g)
		}
	}
	if err != nil {
		r.lose(err)
	}
}

// verify compares the image in the file with the one in memory, when it is
// time for that. It ignores differences in bytes without a meaning.
func (r *region) verify() {
	if !r.whole || time.Since(r.verified) < verifyInterval {
		return
	}
	r.verified = time.Now()
	err := r.w.Current(func(_ uint64, words []uint64) error {
		if equal(words, r.held.Words()) {
			return nil
		}
		m, err := image.Load(words, r.held.Generation())
		if err == nil && !m.Same(r.held.Sections()) {
			err = fmt.Errorf("%s: %w: it holds other configs than were published", r.w.Path(), shm.ErrCorrupt)
		}
		return err
	})
	if err != nil {
		r.lose(err)
	}
}

// equal compares a slot's words with an image's parts.
func equal(words []uint64, parts [][]uint64) bool {
	for _, part := range parts {
		if len(words) < len(part) || !bytes.Equal(seqlock.BytesOf(words[:len(part)]), seqlock.BytesOf(part)) {
			return false
		}
		words = words[len(part):]
	}
	return len(words) == 0
}

// lose records that the file is lost.
func (r *region) lose(err error) {
	r.whole = false
	r.losses++
	r.log.Error("the region is lost and will be recreated", "generation", r.generation(), "error", err)
}

// tell writes the status, with a new heartbeat, into the file that is attached.
func (r *region) tell(o shm.Observation) {
	if !r.w.Attached() {
		return
	}
	r.w.Observe(o)
	if err := r.w.Beat(); err != nil && r.whole {
		r.lose(err)
	}
}

func (r *region) close() error { return r.w.Close() }

// warnOfSpace logs a warning if the file system has no room for a ring full of
// images of the greatest size: otherwise this shows late, as a refusal.
func (r *region) warnOfSpace() {
	o := r.opt
	var st unix.Statfs_t
	if err := unix.Statfs(o.Region, &st); err != nil || st.Blocks == 0 { // a tmpfs without a limit has no blocks
		return
	}
	have := st.Blocks * uint64(st.Bsize)
	need := uint64(o.Writer.Slots+2) * uint64(o.Writer.MaxImage)
	if need > have {
		r.log.Warn("the file system of the region is too small for images of the greatest size; "+
			"make it larger, or lower --max-image or --slots",
			"region", o.Region, "file_system_bytes", have, "needed_bytes", need, "images", o.Writer.Slots+2)
	}
}
