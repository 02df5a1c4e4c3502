/*
 * A reader of statesync regions, written from docs/FORMAT.md alone.
 *
 *     reader FILE NAME [KEY]
 *
 * prints the generation, the region's id, and the config's content, or the type
 * and the value of one of its keys. It exits with 0 if it found that, 1 if it is
 * proven absent, 2 if it could not look, 3 if the region is corrupt, and 4 if
 * the key is not indexed and the content would have to be walked.
 *
 *     cc -std=c11 -O2 -Wall -Wextra -o reader reader.c
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__ || UINTPTR_MAX != UINT64_MAX
#error "regions are little-endian and 64-bit"
#endif

enum result { FOUND = 0, ABSENT = 1, FAILED = 2, BAD = 3, NOT_INDEXED = 4 };

enum {
	REGION_HEADER = 0x8000, /* bytes, up to slot 0 */
	HOT = 0x80 / 8,         /* in words */
	TABLE = 0x1000 / 8,
	TABLE_ENTRY = 128 / 8,
	TRIES = 256,
	CUT = 1,
	LINE_REACH = 4,         /* lines that a search for a name looks at */
	CELL_REACH = 16,        /* cells that a search for a key looks at */
};

#define LO(word) ((word) & 0xffffffff)
#define HI(word) ((word) >> 32)

/* Of a key's second word. */
#define PATH_LENGTH(key) (HI((key)[1]) & 0xffffff)
#define TYPE(key) ((key)[1] >> 56 & 0x7f)

/* XXH64 with seed 0. */

#define P1 0x9E3779B185EBCA87u
#define P2 0xC2B2AE3D27D4EB4Fu
#define P3 0x165667B19E3779F9u
#define P4 0x85EBCA77C2B2AE63u
#define P5 0x27D4EB2F165667C5u

static uint64_t rotl(uint64_t x, int r) { return x << r | x >> (64 - r); }
static uint64_t mix(uint64_t acc, uint64_t lane) { return rotl(acc + lane * P2, 31) * P1; }
static uint64_t merge(uint64_t h, uint64_t acc) { return (h ^ mix(0, acc)) * P1 + P4; }

static uint64_t avalanche(uint64_t h)
{
	h = (h ^ h >> 33) * P2;
	h = (h ^ h >> 29) * P3;
	return h ^ h >> 32;
}

static uint64_t word_at(const unsigned char *p)
{
	uint64_t w;
	memcpy(&w, p, sizeof w);
	return w;
}

static uint64_t xxh64(const void *data, size_t n)
{
	const unsigned char *p = data, *end = p + n;
	uint64_t h = P5;
	if (n >= 32) {
		uint64_t v[4] = {P1 + P2, P2, 0, -P1};
		for (; end - p >= 32; p += 32)
			for (int i = 0; i < 4; i++)
				v[i] = mix(v[i], word_at(p + 8 * i));
		h = rotl(v[0], 1) + rotl(v[1], 7) + rotl(v[2], 12) + rotl(v[3], 18);
		for (int i = 0; i < 4; i++)
			h = merge(h, v[i]);
	}
	h += n;
	for (; end - p >= 8; p += 8)
		h = rotl(h ^ mix(0, word_at(p)), 27) * P1 + P4;
	if (end - p >= 4) {
		uint32_t half;
		memcpy(&half, p, sizeof half);
		h = rotl(h ^ half * P1, 23) * P2 + P3;
		p += 4;
	}
	for (; p < end; p++)
		h = rotl(h ^ *p * P5, 11) * P1;
	return avalanche(h);
}

/* The hash by which a table with a seed knows what has the hash h. */
static uint64_t reseed(uint64_t h, uint64_t seed) { return seed == 0 ? h : avalanche(h + seed * P1); }

/* Loads from the mapping. */

static uint64_t load_acquire(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }

static void copy(uint64_t *to, const uint64_t *from, uint64_t words)
{
	for (uint64_t i = 0; i < words; i++)
		to[i] = __atomic_load_n(from + i, __ATOMIC_RELAXED);
}

/* A fault while a slot is read is decided by the look at its sequence that
 * follows; the file itself is gone after any other. */
static sigjmp_buf on_fault;
static volatile sig_atomic_t in_slot;

static void fault(int sig)
{
	if (!in_slot)
		_exit(BAD);
	siglongjmp(on_fault, sig);
}

/* The sum of a bucket line or an entry. */
static uint64_t seeded(const uint64_t part[7], uint64_t generation, uint64_t number)
{
	uint64_t buf[9];
	memcpy(buf, part, 7 * 8);
	buf[7] = generation;
	buf[8] = number;
	return xxh64(buf, sizeof buf);
}

struct section {
	uint64_t *words; /* a private copy */
	uint64_t length; /* in bytes */
};

/* Section 4 of FORMAT.md: the entry of a name, copied and verified. */
static enum result find(const uint64_t *image, const uint64_t h[16], const char *name, uint64_t e[8])
{
	uint64_t generation = h[1], entries = LO(h[3]), lines = HI(h[3]);
	uint64_t hash = xxh64(name, strlen(name)), seeded_hash = reseed(hash, h[9]), i = HI(seeded_hash) * lines >> 32;
	for (uint64_t n = 0; n < lines && n < LINE_REACH; n++, i = i + 1 == lines ? 0 : i + 1) {
		uint64_t line[8];
		copy(line, image + 16 + 8 * i, 8);
		if (seeded(line, generation, i) != line[7])
			return BAD;
		for (int c = 0; c < 7; c++) {
			if (line[c] == 0)
				return ABSENT;
			if (LO(line[c]) != LO(seeded_hash))
				continue;
			uint64_t number = HI(line[c]) - 1;
			if (number >= entries)
				return BAD;
			copy(e, image + h[4] / 8 + 8 * number, 8);
			if (seeded(e, generation, number) != e[7])
				return BAD;
			if (e[0] == hash)
				return FOUND;
		}
	}
	return ABSENT;
}

/* Steps 7 to 9: everything of an image that is needed, copied and verified. */
static enum result read_config(const uint64_t *image, uint64_t length, uint64_t generation, const char *name,
			       struct section *s)
{
	uint64_t h[16], e[8];
	if (length < sizeof h)
		return BAD;
	copy(h, image, 16);
	if (h[0] != 0x474d49434e595353 || xxh64(h, 120) != h[15] || h[2] != length || HI(h[3]) == 0 ||
	    h[4] != 128 + 64 * HI(h[3]) || h[5] != h[4] + 64 * LO(h[3]) || h[5] > h[6] || h[6] > length ||
	    h[1] != generation)
		return BAD;
	enum result found = find(image, h, name, e);
	if (found != FOUND)
		return found;
	if (e[2] % 8 != 0 || e[3] % 8 != 0 || e[3] > 1 << 30 || e[2] < h[6] || e[2] > length || e[3] > length - e[2])
		return BAD;
	uint64_t *words = realloc(s->words, e[3] + 8);
	if (words == NULL)
		return FAILED;
	s->words = words;
	s->length = e[3];
	copy(words, image + e[2] / 8, e[3] / 8);
	return xxh64(words, e[3]) == e[5] ? FOUND : BAD;
}

static enum result read_slot(const uint64_t *image, const uint64_t *length, uint64_t slot_size, uint64_t generation,
			     const char *name, struct section *s)
{
	if (sigsetjmp(on_fault, 1) != 0)
		return BAD;
	in_slot = 1;
	uint64_t n = load_acquire(length);
	return n % 8 == 0 && n <= slot_size ? read_config(image, n, generation, name, s) : BAD;
}

/* Section 3: one whole read of a config out of a mapped region. */
static enum result read_region(const uint64_t *region, uint64_t slots, uint64_t slot_size, const char *name,
			       uint64_t *generation, struct section *s)
{
	uint64_t first = load_acquire(region + HOT);
	bool torn = false;
	for (int try = 0; try < TRIES; try++) {
		uint64_t g = load_acquire(region + HOT) >> 1;
		if (g == 0 || g > (UINT64_C(1) << 62) - 1)
			return BAD;
		const uint64_t *entry = region + TABLE + TABLE_ENTRY * (g % slots);
		if (load_acquire(entry) != 2 * g + 2)
			continue;
		const uint64_t *image = region + (REGION_HEADER + g % slots * slot_size) / 8;
		enum result result = read_slot(image, entry + 1, slot_size, g, name, s);
		in_slot = 0;
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (__atomic_load_n(entry, __ATOMIC_RELAXED) != 2 * g + 2) {
			torn = true;
			continue;
		}
		*generation = g;
		return result;
	}
	return !torn && load_acquire(region + HOT) == first ? BAD : FAILED;
}

/* Section 5. The section is private memory by now. */

struct parts {
	const char *all, *name, *content;
	const uint32_t *cells;
	const uint64_t *keys;
	uint64_t length, name_len, content_len, cell_count, key_count, flags;
};

static enum result parse(const struct section *s, struct parts *p)
{
	const uint64_t *w = s->words;
	if (s->length < 32)
		return BAD;
	p->name_len = LO(w[0]);
	p->content_len = LO(w[1]);
	p->key_count = HI(w[1]);
	p->cell_count = HI(w[2]);
	p->flags = LO(w[3]);
	uint64_t content = 4 + (p->name_len + 7) / 8, cells = content + (p->content_len + 7) / 8;
	uint64_t keys = cells + p->cell_count / 2, paths = keys + 3 * p->key_count;
	if ((paths + (LO(w[2]) + 7) / 8) * 8 != s->length || p->name_len < 1 || p->name_len > 255 || HI(w[0]) < 1 ||
	    HI(w[0]) > 2 || (p->cell_count & (p->cell_count - 1)) != 0 || p->cell_count == 1 || p->cell_count < p->key_count)
		return BAD;
	p->name = (const char *)(w + 4);
	p->content = (const char *)(w + content);
	p->cells = (const uint32_t *)(w + cells);
	p->keys = w + keys;
	p->all = (const char *)w;
	p->length = s->length;
	return FOUND;
}

static enum result find_key(const struct parts *p, const char *key, const uint64_t **found)
{
	uint64_t len = strlen(key), hash = reseed(xxh64(key, len), p->flags >> 8 & 0xff);
	uint64_t i = p->cell_count ? hash & (p->cell_count - 1) : 0;
	for (uint64_t n = 0; n < p->cell_count && n < CELL_REACH; n++, i = (i + 1) & (p->cell_count - 1)) {
		uint32_t cell = p->cells[i];
		uint64_t number = (uint64_t)(cell & 0xffffff) - 1;
		if (cell == 0)
			break;
		if (cell >> 24 != hash >> 56)
			continue;
		if (number >= p->key_count)
			return BAD;
		const uint64_t *k = p->keys + 3 * number;
		if (LO(k[1]) + PATH_LENGTH(k) > p->length)
			return BAD;
		if (PATH_LENGTH(k) != len || memcmp(p->all + LO(k[1]), key, len) != 0)
			continue;
		*found = k;
		return LO(k[2]) + HI(k[2]) > p->length || TYPE(k) > 7 ? BAD : FOUND;
	}
	return p->flags & CUT ? NOT_INDEXED : ABSENT;
}

static void print_text(const char *text, uint64_t len)
{
	fwrite(text, 1, len, stdout);
	putchar('\n');
}

static void print_value(const struct parts *p, const uint64_t k[3])
{
	static const char *const types[] = {"null", "bool", "int", "uint", "float", "string", "array", "object"};
	double d;
	printf("%s ", types[TYPE(k)]);
	switch (TYPE(k)) {
	case 1: puts(k[0] ? "true" : "false"); break;
	case 2: printf("%lld\n", (long long)k[0]); break;
	case 3: printf("%llu\n", (unsigned long long)k[0]); break;
	case 4: memcpy(&d, k, sizeof d); printf("%.17g\n", d); break;
	default: print_text(p->all + LO(k[2]), HI(k[2]));
	}
}

/* Opening: steps 1 to 3. */
static enum result open_region(const char *file, const uint64_t **region, uint64_t id[16])
{
	struct stat st;
	int fd = open(file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0)
		return FAILED;
	if (st.st_size < REGION_HEADER || pread(fd, id, 128, 0) != 128 || id[0] != 0x4e4752434e595353)
		return BAD;
	if (LO(id[1]) != 1)
		return FAILED;
	if (xxh64(id, 120) != id[15] || HI(id[1]) != REGION_HEADER)
		return BAD;
	if (id[2] != 0)
		return FAILED;
	uint64_t slots = id[4], slot_size = id[5];
	if (slots < 2 || slots > 32 || slot_size == 0 || slot_size % 65536 != 0 || slot_size > UINT64_C(1) << 40 ||
	    (uint64_t)st.st_size != REGION_HEADER + slots * slot_size)
		return BAD;
	void *map = mmap(NULL, st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	*region = map;
	return map == MAP_FAILED ? FAILED : FOUND;
}

int main(int argc, char **argv)
{
	const uint64_t *region = NULL, *key = NULL;
	uint64_t id[16], generation = 0;
	struct section s = {0};
	struct parts p = {0};
	if (argc != 3 && argc != 4) {
		fprintf(stderr, "usage: %s FILE NAME [KEY]\n", argv[0]);
		return FAILED;
	}
	enum result result = open_region(argv[1], &region, id);
	if (result != FOUND)
		return result;
	signal(SIGBUS, fault);
	result = read_region(region, id[4], id[5], argv[2], &generation, &s);
	if (result == FOUND)
		result = parse(&s, &p);
	if (result == FOUND && (p.name_len != strlen(argv[2]) || memcmp(p.name, argv[2], p.name_len) != 0))
		result = xxh64(p.name, p.name_len) == xxh64(argv[2], strlen(argv[2])) ? ABSENT : BAD;
	if (result == FOUND && argc == 4)
		result = find_key(&p, argv[3], &key);
	if (result != FOUND)
		return result;
	printf("generation %llu\nregion ", (unsigned long long)generation);
	for (int i = 0; i < 16; i++)
		printf("%02x", ((unsigned char *)(id + 6))[i]);
	putchar('\n');
	if (argc == 4)
		print_value(&p, key);
	else
		print_text(p.content, p.content_len);
	return FOUND;
}
