package headroom

// MemoryCgroup is for the tests of what uses this package.
var MemoryCgroup = memoryCgroup

// Left is how much the cgroups allow.
func Left() (free int64, limited bool) {
	free, _, limited = headroom()
	return free, limited
}
