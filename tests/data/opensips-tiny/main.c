/* Answers -V and -C as OpenSIPS does, and with neither runs until MI says kill. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int mi_loop(const char *fifo, const char *replies, const char *pid_file);

static char mpath[512], fifo[512], replies[512];

static int quoted(const char *line, const char *before, char *into, size_t size)
{
	const char *from = strstr(line, before), *to;
	if (!from || !(from = strchr(from + strlen(before), '"')) || !(to = strchr(++from, '"')))
		return 0;
	snprintf(into, size, "%.*s", (int)(to - from), from);
	return 1;
}

static int core_protocol(const char *name)
{
	return !strcmp(name, "proto_udp.so") || !strcmp(name, "proto_tcp.so");
}

/* The number of errors; each is said as opensips -C says it. */
static int read_config(const char *path)
{
	char line[4096], name[256], file[1024];
	int number = 0, errors = 0;
	FILE *config = fopen(path, "r");

	if (!config) {
		fprintf(stderr, "ERROR:core:main: loading config file %s: No such file or directory\n", path);
		return 1;
	}
	while (fgets(line, sizeof(line), config)) {
		number++;
		if (line[0] == '#')
			continue;
		quoted(line, "mpath=", mpath, sizeof(mpath));
		quoted(line, "\"fifo_name\",", fifo, sizeof(fifo));
		quoted(line, "\"reply_dir\",", replies, sizeof(replies));
		if (!strncmp(line, "loadmodule", 10) && quoted(line, "loadmodule", name, sizeof(name))) {
			snprintf(file, sizeof(file), "%s%s", mpath, name);
			if (!core_protocol(name) && access(file, R_OK)) {
				fprintf(stderr, "CRITICAL:core:yyerror: parse error in %s:%d:1-2: "
					"failed to load module %s\n", path, number, name);
				errors++;
			}
		}
		if (strstr(line, "no_such_statement")) {
			fprintf(stderr, "CRITICAL:core:yyerror: parse error in %s:%d:1-18: syntax error\n",
				path, number);
			errors++;
		}
	}
	fclose(config);
	return errors;
}

int main(int argc, char **argv)
{
	const char *config = CFG_DIR "opensips.cfg", *pid_file = 0;
	int option, check = 0, foreground = 0;

	while ((option = getopt(argc, argv, "VCFf:w:P:m:M:G:u:g:")) != -1) {
		switch (option) {
		case 'V':
			printf("version: opensips " VERSION " (x86_64/linux)\n");
			return 0;
		case 'C': check = 1; break;
		case 'F': foreground = 1; break;
		case 'f': config = optarg; break;
		case 'P': pid_file = optarg; break;
		}
	}
	if (read_config(config))
		return 255;
	if (check) {
		fprintf(stderr, "NOTICE:core:main: config file ok, exiting...\n");
		return 0;
	}
	if (!foreground && daemon(0, 0))
		return 255;
	return mi_loop(fifo, replies, pid_file);
}
