package history

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
)

// bbolt trusts its file. A wrong page number makes it fault, a wrong count makes it
// allocate without bounds, and a page that is both free and in use is overwritten while
// it is read. Its own Check runs in a goroutine in which a fault ends the process. So
// checkFile verifies the pages before bbolt maps them:
//
//   - the newer valid meta page has its checksum, and the file is as long as it says;
//   - from the root bucket, every page is a branch or a leaf under its own number, its
//     elements lie in the page, keys ascend and lie between those of the parent;
//   - the freelist holds only pages that exist;
//   - no page is in use twice, or both in use and free. One that is neither costs its
//     room, and that until the next rewrite.
//
// It reads with ReadAt, allocates no more than the file is long, and looks at no values
// but the buckets'.

// The layout of version 2, the only one of bbolt. All integers are in the byte order of
// the machine, little-endian on those that the daemon is built for.
const (
	boltMagic    = 0xED0CDAED
	boltVersion  = 2
	pageHeader   = 16 // id 8, flags 2, count 2, overflow 4
	elementBytes = 16
	metaBytes    = 64 // behind a page's header, with the checksum
	bucketHeader = 16 // root 8, sequence 8
	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10
	bucketFlag   = 0x01
	maxDepth     = 64 // of pages and buckets in one another
	largeCount   = 0xFFFF
)

// meta is what a meta page says.
type meta struct {
	version  uint32
	pageSize uint64
	root     uint64
	freelist uint64
	high     uint64 // the first page that does not exist
	txid     uint64
}

// readMeta reads the meta page at an offset, and reports whether its sum matches.
func readMeta(r io.ReaderAt, offset int64) (meta, bool) {
	b := make([]byte, pageHeader+metaBytes)
	if n, _ := r.ReadAt(b, offset); n < len(b) { // as good as a wrong sum
		return meta{}, false
	}
	b = b[pageHeader:]
	sum := fnv.New64a()
	sum.Write(b[:metaBytes-8])
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(b[i:]) }
	half := func(i int) uint32 { return binary.LittleEndian.Uint32(b[i:]) }
	m := meta{
		version: half(4), pageSize: uint64(half(8)), root: word(16),
		freelist: word(32), high: word(40), txid: word(48),
	}
	return m, half(0) == boltMagic && word(56) == sum.Sum64()
}

// newestMeta finds the valid meta page with the higher transaction id.
func newestMeta(r io.ReaderAt) (meta, error) {
	first, ok := readMeta(r, 0)
	if !ok {
		// The second one is where the first page ends, wherever that is.
		for size := int64(1 << 10); !ok && size <= 1<<24; size *= 2 {
			first, ok = readMeta(r, size)
			ok = ok && first.pageSize == uint64(size)
		}
	} else if second, valid := readMeta(r, int64(first.pageSize)); valid && second.pageSize == first.pageSize && second.txid > first.txid {
		first = second
	}
	if !ok {
		return meta{}, fmt.Errorf("%w: neither of its meta pages is valid", ErrDamaged)
	}
	if first.version != boltVersion {
		return meta{}, fmt.Errorf("the file has version %d of its page layout, and this build reads %d", first.version, boltVersion)
	}
	return first, nil
}

// checkFile verifies the pages of a file of size bytes.
func checkFile(r io.ReaderAt, size int64) error {
	m, err := newestMeta(r)
	if err != nil {
		return err
	}
	switch {
	case m.pageSize < 1<<10 || m.pageSize > 1<<24 || m.pageSize&(m.pageSize-1) != 0:
		return fmt.Errorf("%w: pages of %d bytes", ErrDamaged, m.pageSize)
	case m.high > uint64(size)/m.pageSize:
		return fmt.Errorf("%w: it has %d bytes and should have %d pages of %d", ErrDamaged, size, m.high, m.pageSize)
	}
	c := checker{r: r, pageSize: m.pageSize, used: make([]bool, m.high)}
	if err := c.mark(0, 2); err != nil { // the meta pages
		return err
	}
	if err := c.tree(m.root, nil, nil, maxDepth); err != nil {
		return err
	}
	return c.freelist(m.freelist)
}

// checker remembers which pages were seen.
type checker struct {
	r        io.ReaderAt
	pageSize uint64
	used     []bool
	spare    [][]byte // buffers that are not in use
}

// mark notes that n pages are in use or free. Each is so once.
func (c *checker) mark(id, n uint64) error {
	if high := uint64(len(c.used)); id >= high || n > high-id {
		return fmt.Errorf("%w: page %d does not exist", ErrDamaged, id)
	}
	for ; n > 0; id, n = id+1, n-1 {
		if c.used[id] {
			return fmt.Errorf("%w: page %d is used twice", ErrDamaged, id)
		}
		c.used[id] = true
	}
	return nil
}

// page is a page with those that it runs on over.
type page struct {
	id    uint64
	flags uint16
	count int
	data  []byte
}

func parsePage(data []byte) page {
	return page{
		id:    binary.LittleEndian.Uint64(data),
		flags: binary.LittleEndian.Uint16(data[8:]),
		count: int(binary.LittleEndian.Uint16(data[10:])),
		data:  data,
	}
}

// load reads and marks a page. The caller gives the buffer back.
func (c *checker) load(id uint64) (page, error) {
	var buf []byte
	if n := len(c.spare); n > 0 {
		buf, c.spare = c.spare[n-1], c.spare[:n-1]
	}
	if err := c.mark(id, 1); err != nil {
		return page{}, err
	}
	if uint64(cap(buf)) < c.pageSize {
		buf = make([]byte, c.pageSize)
	}
	buf = buf[:c.pageSize]
	if _, err := c.r.ReadAt(buf, int64(id*c.pageSize)); err != nil {
		return page{}, readError(id, err)
	}
	if overflow := uint64(binary.LittleEndian.Uint32(buf[12:])); overflow > 0 {
		if err := c.mark(id+1, overflow); err != nil {
			return page{}, err
		}
		buf = append(buf, make([]byte, overflow*c.pageSize)...)
		if _, err := c.r.ReadAt(buf[c.pageSize:], int64((id+1)*c.pageSize)); err != nil {
			return page{}, readError(id, err)
		}
	}
	p := parsePage(buf)
	if p.id != id {
		return page{}, fmt.Errorf("%w: page %d says that it is page %d", ErrDamaged, id, p.id)
	}
	return p, nil
}

// readError is the error of a page that cannot be read. The file is as long as it says,
// so a short read is damage, and any other error the disk's.
func readError(id uint64, err error) error {
	return fmt.Errorf("%w: page %d cannot be read: %w", ErrDamaged, id, err)
}

// element is a key of a page, with a leaf's value or a branch's page.
type element struct {
	bucket bool
	key    []byte
	value  []byte
	child  uint64
}

// element returns the i-th one, whose bounds it checks.
func (p page) element(i int) (element, error) {
	at := pageHeader + i*elementBytes
	if at+elementBytes > len(p.data) {
		return element{}, fmt.Errorf("%w: page %d has no room for %d elements", ErrDamaged, p.id, p.count)
	}
	half := func(n int) uint64 { return uint64(binary.LittleEndian.Uint32(p.data[at+n:])) } // of a word
	var e element
	var start, keyBytes, valueBytes uint64
	if p.flags == branchPage {
		start, keyBytes = half(0), half(4)
		e.child = binary.LittleEndian.Uint64(p.data[at+8:])
	} else {
		e.bucket = half(0)&bucketFlag != 0
		start, keyBytes, valueBytes = half(4), half(8), half(12)
	}
	start += uint64(at)
	end := start + keyBytes + valueBytes // of numbers below 2^33
	if keyBytes == 0 || end > uint64(len(p.data)) {
		return element{}, fmt.Errorf("%w: element %d of page %d is outside of it", ErrDamaged, i, p.id)
	}
	e.key = p.data[start : start+keyBytes]
	e.value = p.data[start+keyBytes : end]
	return e, nil
}

// tree verifies a bucket's pages from one downwards. Their keys are at least low and,
// unless that is nil, below high.
func (c *checker) tree(id uint64, low, high []byte, depth int) error {
	if depth == 0 {
		return fmt.Errorf("%w: page %d is too deep", ErrDamaged, id)
	}
	p, err := c.load(id)
	if err != nil {
		return err
	}
	defer func() { c.spare = append(c.spare, p.data) }()
	if p.flags == branchPage && p.count == 0 || p.flags != branchPage && p.flags != leafPage {
		return fmt.Errorf("%w: page %d is neither a branch nor a leaf", ErrDamaged, id)
	}
	return c.elements(p, low, high, depth)
}

// elements verifies what is in a page.
func (c *checker) elements(p page, low, high []byte, depth int) error {
	for i := range p.count {
		e, err := p.element(i)
		if err != nil {
			return err
		}
		order := bytes.Compare(e.key, low)
		if order < 0 || order == 0 && i > 0 || high != nil && bytes.Compare(e.key, high) >= 0 {
			return fmt.Errorf("%w: the keys of page %d are out of order", ErrDamaged, p.id)
		}
		low = e.key
		switch {
		case p.flags == branchPage:
			next := high
			if i+1 < p.count {
				following, err := p.element(i + 1)
				if err != nil {
					return err
				}
				next = following.key
			}
			err = c.tree(e.child, e.key, next, depth-1)
		case e.bucket:
			err = c.bucket(e.value, depth-1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bucket verifies a bucket by its value: the number of its root page, or the only page
// itself.
func (c *checker) bucket(value []byte, depth int) error {
	if len(value) < bucketHeader {
		return fmt.Errorf("%w: a bucket without a root", ErrDamaged)
	}
	if root := binary.LittleEndian.Uint64(value); root != 0 {
		return c.tree(root, nil, nil, depth)
	}
	if len(value) < bucketHeader+pageHeader {
		return fmt.Errorf("%w: a bucket without a page", ErrDamaged)
	}
	p := parsePage(value[bucketHeader:])
	if p.flags != leafPage || depth == 0 {
		return fmt.Errorf("%w: a bucket whose page is not a leaf", ErrDamaged)
	}
	return c.elements(p, nil, nil, depth)
}

// freelist verifies the list of free pages, and marks them.
func (c *checker) freelist(id uint64) error {
	p, err := c.load(id)
	if err != nil {
		return err
	}
	list := p.data[pageHeader:]
	n := uint64(p.count)
	if n == largeCount && len(list) >= 8 {
		n, list = binary.LittleEndian.Uint64(list), list[8:]
	}
	if p.flags != freelistPage || n > uint64(len(list)/8) {
		return fmt.Errorf("%w: page %d is not a list of free pages", ErrDamaged, id)
	}
	for i := range n {
		if err := c.mark(binary.LittleEndian.Uint64(list[i*8:]), 1); err != nil {
			return err
		}
	}
	return nil
}
