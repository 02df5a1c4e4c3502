package history

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"
)

// tx is a transaction with the tables in it.
type tx struct {
	*bbolt.Tx
	meta, refs, configs, files, records, changes, intent, pin, audit table

	floors table // without a bucket in a file that has none yet

	objects *bbolt.Bucket // sum → content, which is its own sum

	totals   totals
	mentions map[Digest]mention // that settle will count
}

// tables are the names of the buckets. The values of objects have no sums.
var tables = []string{"meta", "objects", "refs", "configs", "files", "records", "changes", "intent", "pin", "audit"}

// Keys of meta, which are always there.
var (
	formatKey  = []byte("format")
	totalsKey  = []byte("totals")
	rewriteKey = []byte("rewrite") // the number of the entry whose Purge has yet to rewrite the file, or 0
)

// format is the version of what this package writes.
const format = 1

// newTx finds the tables. It fails in a file that this package did not make.
func newTx(t *bbolt.Tx) (*tx, error) {
	x := &tx{Tx: t, mentions: map[Digest]mention{}}
	found := map[string]table{}
	for _, name := range tables {
		b := t.Bucket([]byte(name))
		if b == nil {
			return nil, fmt.Errorf("%w: it has no %s", ErrDamaged, name)
		}
		found[name] = table{b, name}
	}
	x.meta, x.refs, x.configs, x.files = found["meta"], found["refs"], found["configs"], found["files"]
	x.records, x.changes, x.intent, x.pin = found["records"], found["changes"], found["intent"], found["pin"]
	x.audit, x.objects = found["audit"], found["objects"].bucket
	x.floors = table{t.Bucket(floorsName), string(floorsName)}
	// A generation is written once, and above those before it.
	x.records.bucket.FillPercent, x.changes.bucket.FillPercent, x.audit.bucket.FillPercent = 1, 1, 1
	return x, x.readTotals()
}

// createTables makes the tables of an empty file.
func createTables(t *bbolt.Tx) error {
	for _, name := range tables {
		if _, err := t.CreateBucket([]byte(name)); err != nil {
			return err
		}
	}
	meta := table{t.Bucket([]byte("meta")), "meta"}
	_, err1 := meta.put(formatKey, binary.LittleEndian.AppendUint64(nil, format))
	_, err2 := meta.put(totalsKey, totals{}.encode())
	_, err3 := meta.put(rewriteKey, numberKey(0))
	_, err4 := table{t.Bucket([]byte("intent")), "intent"}.put(intentKey, []byte("{}"))
	return errors.Join(err1, err2, err3, err4)
}

// fileKey is the key of a file of a layer. Without a path it is that of the layer itself,
// which comes before those of its files.
func fileKey(layer, path string) []byte { return []byte(layer + "\x00" + path) }

// totals are the figures that are kept with the data.
type totals struct {
	records, objects uint64
	bytes            int64
	entry            uint64 // the number of the audit's newest entry
}

func (n totals) encode() []byte {
	b := binary.LittleEndian.AppendUint64(nil, n.records)
	b = binary.LittleEndian.AppendUint64(b, n.objects)
	b = binary.LittleEndian.AppendUint64(b, uint64(n.bytes))
	return binary.LittleEndian.AppendUint64(b, n.entry)
}

func (t *tx) readTotals() error {
	b, err := t.meta.get(totalsKey)
	if err != nil {
		return err
	}
	if len(b) != 32 {
		return fmt.Errorf("%w: its totals have %d bytes", ErrDamaged, len(b))
	}
	t.totals.records = binary.LittleEndian.Uint64(b)
	t.totals.objects = binary.LittleEndian.Uint64(b[8:])
	t.totals.bytes = int64(binary.LittleEndian.Uint64(b[16:]))
	t.totals.entry = binary.LittleEndian.Uint64(b[24:])
	return nil
}

func (t *tx) writeTotals() error {
	_, err := t.meta.put(totalsKey, t.totals.encode())
	return err
}

// mention is how many more places mention a content, and the content if it may be new.
type mention struct {
	more int64
	data []byte
}

// mention notes that a content is mentioned in more places, or in fewer.
func (t *tx) mention(sum Digest, more int64, data []byte) {
	m := t.mentions[sum]
	m.more += more
	if data != nil {
		m.data = data
	}
	t.mentions[sum] = m
}

// mentionRef and mentionFile are mention for a config and for a file. What is purged
// mentions nothing.
func (t *tx) mentionRef(r Ref, more int64, data []byte) {
	if r.Name != "" && !r.Purged {
		t.mention(r.Sum, more, data)
	}
}

func (t *tx) mentionFile(f fileRef, more int64, data []byte) {
	if f.state == wholeFile {
		t.mention(f.sum, more, data)
	}
}

// mentionChanges notes that all values of a record's changes are mentioned in more
// places.
func (t *tx) mentionChanges(c *changes, more int64) {
	for _, change := range c.configs {
		t.mentionRef(change.Before, more, nil)
		t.mentionRef(change.After, more, nil)
	}
	for _, l := range c.layers {
		for _, f := range l.files {
			t.mentionFile(f.before, more, nil)
			t.mentionFile(f.after, more, nil)
		}
	}
}

// settle counts what was mentioned. New contents are stored, and those without a mention
// deleted. It keeps the invariant that refs has the number of mentions of each content,
// and objects the contents that have one.
func (t *tx) settle() error {
	sums := make([]Digest, 0, len(t.mentions))
	for sum, m := range t.mentions {
		if m.more != 0 {
			sums = append(sums, sum)
		}
	}
	slices.SortFunc(sums, func(a, b Digest) int { return bytes.Compare(a[:], b[:]) })
	for i := range sums {
		if err := t.settleOne(sums[i][:], t.mentions[sums[i]]); err != nil {
			return err
		}
	}
	clear(t.mentions)
	return nil
}

func (t *tx) settleOne(sum []byte, m mention) error {
	old, err := t.count(sum)
	if err != nil {
		return err
	}
	n := int64(old) + m.more
	switch {
	case n < 0, old == 0 && m.data == nil:
		return fmt.Errorf("%w: the content %x is mentioned %d times, and %d more", ErrDamaged, sum, old, m.more)
	case n == 0:
		t.totals.objects--
		t.totals.bytes -= int64(len(sum) + len(t.objects.Get(sum)))
		if err := t.objects.Delete(sum); err != nil {
			return err
		}
		_, err := t.refs.remove(sum)
		return err
	case old == 0:
		t.totals.objects++
		t.totals.bytes += int64(len(sum) + len(m.data))
		if err := t.objects.Put(sum, m.data); err != nil {
			return err
		}
	}
	_, err = t.refs.put(sum, binary.AppendUvarint(nil, uint64(n)))
	return err
}

// count is how many places mention a content.
func (t *tx) count(sum []byte) (uint64, error) {
	b, err := t.refs.get(sum)
	if err != nil || b == nil {
		return 0, err
	}
	d := decoder{rest: b}
	n := d.uvarint()
	d.must(len(d.rest) == 0 && n > 0 && n < 1<<62)
	if d.bad {
		return 0, fmt.Errorf("%w: the mentions of %x cannot be decoded", ErrDamaged, sum)
	}
	return n, nil
}

// object returns a verified copy of a content.
func (t *tx) object(sum Digest) ([]byte, error) {
	stored := t.objects.Get(sum[:])
	if stored == nil {
		if n, err := t.count(sum[:]); err != nil || n > 0 {
			return nil, fmt.Errorf("%w: the content %v is missing", ErrDamaged, sum)
		}
		return nil, fmt.Errorf("the content %v was %w, or is %w any more", sum, ErrPurged, ErrNotKept)
	}
	data := append([]byte{}, stored...)
	if sha256.Sum256(data) != sum {
		return nil, fmt.Errorf("%w: the content %v has another sum", ErrDamaged, sum)
	}
	return data, nil
}
