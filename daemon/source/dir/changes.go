package dir

import (
	"path"
	"strings"
)

// maxNames bounds how many names are remembered between two scans. With more of them
// the next scan is a whole one.
const maxNames = 4096

// changes are the names that events were about, relative to the root and free of
// symlinks. A scan that has them looks at these names and takes everything else as the
// last scan found it.
type changes struct {
	// names has all of them; true for an entry of a directory of the source, false
	// for what only a link leads by.
	names map[string]bool
	// dirs has, for each directory to look into, the names in it. The directories on
	// the way there are in it as well.
	dirs map[string][]string
	// unseen are the directories with names that the scan has not come by. Some are left
	// when the tree is not as the last scan found it, or when a directory is in a
	// Kubernetes volume: the scan goes by the path and not the real path of those.
	unseen map[string]bool
}

// changesIn returns the changes of absolute names below root. It returns nil if one of
// them is not below root.
func changesIn(root string, names map[string]bool) *changes {
	c := &changes{names: map[string]bool{}, dirs: map[string][]string{"": nil}, unseen: map[string]bool{}}
	for name, entry := range names {
		rel, ok := strings.CutPrefix(name, strings.TrimSuffix(root, "/")+"/")
		if !ok {
			return nil
		}
		c.add(rel, entry)
	}
	return c
}

// add adds a name, once.
func (c *changes) add(name string, entry bool) {
	if c.names[name] {
		return
	}
	c.names[name] = entry
	if !entry {
		return
	}
	dir, last := path.Split(name)
	dir = strings.TrimSuffix(dir, "/")
	c.unseen[dir] = true
	c.dirs[dir] = append(c.dirs[dir], last)
	for dir != "" {
		dir = strings.TrimSuffix(dir[:strings.LastIndexByte(dir, '/')+1], "/")
		if _, ok := c.dirs[dir]; ok {
			return
		}
		c.dirs[dir] = nil
	}
}

// addLinks adds the links in and below n whose targets lead by one of the names, and
// those of unwanted files, whose targets are not watched. It returns false if one of the
// former is in a Kubernetes volume, where path and real path differ. A target is never a
// link, so once is enough.
func (c *changes) addLinks(n *node, inVolume bool) bool {
	if n.volume != nil {
		return c.addLinks(n.volume, true)
	}
	for _, e := range n.entries {
		switch {
		case e.dir != nil:
			if !c.addLinks(e.dir, inVolume) {
				return false
			}
		case e.target == "":
		case c.leadBy(e.target):
			if inVolume {
				return false
			}
			c.add(e.path, true)
		case !inVolume && e.file != nil && e.file.Data == nil:
			c.add(e.path, true)
		}
	}
	return true
}

// leadBy reports whether a target is one of the names or below one.
func (c *changes) leadBy(target string) bool {
	for i := range len(target) {
		if target[i] == '/' {
			if _, ok := c.names[target[:i]]; ok {
				return true
			}
		}
	}
	_, ok := c.names[target]
	return ok
}
