package history

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"
)

// tx is a transaction with the tables in it.
type tx struct {
	*bbolt.Tx
	meta, refs, configs, records, changes, intent, pin, audit, pending table

	objects *bbolt.Bucket // sum → content, which is its own sum
	files   *bbolt.Bucket // layer → table

	totals   totals
	mentions map[Digest]mention // that settle will count
}

// tables are the names of the buckets. objects and files have no values with sums.
var tables = []string{"meta", "objects", "refs", "configs", "files", "records", "changes", "intent", "pin", "audit", "pending"}

// Keys of meta.
var (
	formatKey  = []byte("format")
	totalsKey  = []byte("totals")
	rewriteKey = []byte("rewrite") // the number of the entry whose Purge has yet to rewrite the file
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
	x.meta, x.refs, x.configs, x.records = found["meta"], found["refs"], found["configs"], found["records"]
	x.changes, x.intent, x.pin, x.audit = found["changes"], found["intent"], found["pin"], found["audit"]
	x.pending, x.objects, x.files = found["pending"], found["objects"].bucket, found["files"].bucket
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
	if _, err := meta.put(formatKey, binary.LittleEndian.AppendUint64(nil, format)); err != nil {
		return err
	}
	_, err := meta.put(totalsKey, totals{}.encode())
	return err
}

// layer returns the table of a layer's files in the head, or false.
func (t *tx) layer(name string) (table, bool) {
	b := t.files.Bucket([]byte(name))
	return table{b, "files/" + name}, b != nil
}

// totals are the figures that are kept with the data.
type totals struct {
	records, objects uint64
	bytes            int64
}

func (n totals) encode() []byte {
	b := binary.LittleEndian.AppendUint64(nil, n.records)
	b = binary.LittleEndian.AppendUint64(b, n.objects)
	return binary.LittleEndian.AppendUint64(b, uint64(n.bytes))
}

func (t *tx) readTotals() error {
	b, err := t.meta.get(totalsKey)
	if err != nil {
		return err
	}
	if len(b) != 24 {
		return fmt.Errorf("%w: its totals have %d bytes", ErrDamaged, len(b))
	}
	t.totals.records = binary.LittleEndian.Uint64(b)
	t.totals.objects = binary.LittleEndian.Uint64(b[8:])
	t.totals.bytes = int64(binary.LittleEndian.Uint64(b[16:]))
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
