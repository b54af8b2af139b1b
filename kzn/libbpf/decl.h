/* Declarations for cffi (ABI mode) of the parts of libbpf.so.1, libc and bpf(2) that kzn calls.
 * Names and layouts are the public interface of libbpf 1.0 and of include/uapi/linux/bpf.h.
 */
typedef uint32_t __u32;
typedef uint64_t __u64;

/* libbpf.h */
struct bpf_object;
struct bpf_program;
struct bpf_map;
typedef int (*libbpf_print_fn_t)(int level, const char *format, void *va_list);

struct bpf_object_open_opts {
	size_t sz;
	const char *object_name;
	bool relaxed_maps;
	const char *pin_root_path;
	__u32 :32;
	const char *kconfig;
	const char *btf_custom_path;
	char *kernel_log_buf;
	size_t kernel_log_size;
	__u32 kernel_log_level;
};

const char *libbpf_version_string(void);
libbpf_print_fn_t libbpf_set_print(libbpf_print_fn_t fn);
int libbpf_num_possible_cpus(void);

struct bpf_object *bpf_object__open_mem(const void *buf, size_t size,
					const struct bpf_object_open_opts *opts);
int bpf_object__load(struct bpf_object *object);
void bpf_object__close(struct bpf_object *object);
struct bpf_program *bpf_object__next_program(const struct bpf_object *object,
					     struct bpf_program *program);
struct bpf_program *bpf_object__find_program_by_name(const struct bpf_object *object,
						     const char *name);
struct bpf_map *bpf_object__next_map(const struct bpf_object *object, const struct bpf_map *map);
struct bpf_map *bpf_object__find_map_by_name(const struct bpf_object *object, const char *name);

const char *bpf_program__name(const struct bpf_program *program);
int bpf_program__fd(const struct bpf_program *program);
int bpf_program__set_type(struct bpf_program *program, int type);
int bpf_program__set_expected_attach_type(struct bpf_program *program, int type);

const char *bpf_map__name(const struct bpf_map *map);
int bpf_map__type(const struct bpf_map *map); /* an enum */
__u32 bpf_map__key_size(const struct bpf_map *map);
__u32 bpf_map__value_size(const struct bpf_map *map);
__u32 bpf_map__max_entries(const struct bpf_map *map);
__u32 bpf_map__map_flags(const struct bpf_map *map);
__u32 bpf_map__btf_key_type_id(const struct bpf_map *map);
__u32 bpf_map__btf_value_type_id(const struct bpf_map *map);
struct bpf_map *bpf_map__inner_map(struct bpf_map *map);
int bpf_map__fd(const struct bpf_map *map);
int bpf_map__reuse_fd(struct bpf_map *map, int fd);
int bpf_map__set_max_entries(struct bpf_map *map, __u32 max_entries);
int bpf_map__set_initial_value(struct bpf_map *map, const void *data, size_t size);
const void *bpf_map__initial_value(struct bpf_map *map, size_t *size);

/* btf.h, and include/uapi/linux/btf.h: the types of an object. A btf_type is followed by the data of
 * its kind.
 */
struct btf;
struct btf_type {
	__u32 name_off;
	__u32 info;
	__u32 size; /* or the number of the type that this one refers to */
};
struct btf_array {
	__u32 type;
	__u32 index_type;
	__u32 nelems;
};
struct btf_member {
	__u32 name_off;
	__u32 type;
	__u32 offset;
};
struct btf_enum {
	__u32 name_off;
	int val;
};
struct btf_var_secinfo {
	__u32 type;
	__u32 offset;
	__u32 size;
};
struct btf *bpf_object__btf(const struct bpf_object *object);
int btf__find_by_name_kind(const struct btf *btf, const char *name, __u32 kind);
const struct btf_type *btf__type_by_id(const struct btf *btf, __u32 id);
const char *btf__name_by_offset(const struct btf *btf, __u32 offset);

/* bpf.h */
struct bpf_map_create_opts;
struct bpf_map_batch_opts;
int bpf_map_create(int type, const char *name, __u32 key_size, __u32 value_size,
		   __u32 max_entries, const struct bpf_map_create_opts *opts);
int bpf_map_lookup_elem(int fd, const void *key, void *value);
int bpf_map_update_elem(int fd, const void *key, const void *value, __u64 flags);
int bpf_map_delete_elem(int fd, const void *key);
int bpf_map_get_next_key(int fd, const void *key, void *next_key);
int bpf_map_lookup_batch(int fd, void *in_batch, void *out_batch, void *keys, void *values,
			 __u32 *count, const struct bpf_map_batch_opts *opts);
int bpf_map_lookup_and_delete_batch(int fd, void *in_batch, void *out_batch, void *keys,
				    void *values, __u32 *count,
				    const struct bpf_map_batch_opts *opts);
int bpf_map_update_batch(int fd, const void *keys, const void *values, __u32 *count,
			 const struct bpf_map_batch_opts *opts);
int bpf_obj_pin(int fd, const char *path);
int bpf_obj_get(const char *path);
int bpf_obj_get_info_by_fd(int fd, void *info, __u32 *info_len);
int bpf_link_detach(int fd);
int bpf_prog_query(int target, int type, __u32 query_flags, __u32 *attach_flags,
		   __u32 *prog_ids, __u32 *prog_cnt);
int bpf_link_get_next_id(__u32 start_id, __u32 *next_id);
int bpf_link_get_fd_by_id(__u32 id);

struct bpf_test_run_opts {
	size_t sz;
	const void *data_in;
	void *data_out;
	__u32 data_size_in;
	__u32 data_size_out;
	const void *ctx_in;
	void *ctx_out;
	__u32 ctx_size_in;
	__u32 ctx_size_out;
	__u32 retval;
	int repeat;
	__u32 duration;
	__u32 flags;
	__u32 cpu;
	__u32 batch_size;
};
int bpf_prog_test_run_opts(int fd, struct bpf_test_run_opts *opts);

/* The first fields of struct bpf_map_info; the kernel fills as many bytes as it is given. */
struct kzn_map_info {
	__u32 type;
	__u32 id;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 map_flags;
	char name[16];
};

/* struct bpf_link_info of a netfilter link (Linux 6.4). */
struct kzn_link_info {
	__u32 type;
	__u32 id;
	__u32 prog_id;
	__u32 padding;
	__u32 pf;
	__u32 hooknum;
	int priority;
	__u32 flags;
};

/* The same of a tcx link (Linux 6.6). */
struct kzn_tcx_link_info {
	__u32 type;
	__u32 id;
	__u32 prog_id;
	__u32 padding;
	__u32 ifindex;
	__u32 attach_type;
};

/* union bpf_attr of BPF_LINK_CREATE for netfilter (Linux 6.4). */
struct kzn_link_create {
	__u32 prog_fd;
	__u32 target_fd;
	__u32 attach_type;
	__u32 flags;
	__u32 pf;
	__u32 hooknum;
	int priority;
	__u32 netfilter_flags;
};

/* The same for tcx (Linux 6.6). */
struct kzn_tcx_link_create {
	__u32 prog_fd;
	__u32 target_ifindex;
	__u32 attach_type;
	__u32 flags;
	__u32 relative_fd;
	__u32 padding;
	__u64 expected_revision;
};

/* include/uapi/linux/capability.h */
struct kzn_capability_header {
	__u32 version;
	int pid;
};
struct kzn_capability_data {
	__u32 effective;
	__u32 permitted;
	__u32 inheritable;
};
int capset(const struct kzn_capability_header *header, const struct kzn_capability_data *data);
int prctl(int option, ...);

/* libc */
long syscall(long number, ...);
int vsnprintf(char *buffer, size_t size, const char *format, void *va_list);
