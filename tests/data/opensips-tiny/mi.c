/* MI over a FIFO: `:REPLY:{"id":1,"method":"uptime"}` is answered in the FIFO REPLY. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *result(const char *request)
{
	if (strstr(request, "\"uptime\""))
		return "{\"Now\":\"now\",\"Up since\":\"then\",\"Up time\":\"1 [sec]\"}";
	if (strstr(request, "\"version\""))
		return "{\"Server\":\"OpenSIPS (" VERSION " (x86_64/linux))\"}";
	if (strstr(request, "\"which\""))
		return "[\"uptime\",\"version\",\"which\",\"kill\"]";
	return strstr(request, "\"kill\"") ? "\"OK\"" : 0;
}

static void answer(const char *path, const char *request)
{
	const char *id = strstr(request, "\"id\":"), *found = result(request);
	int length = 0;
	FILE *reply = fopen(path, "w");

	if (!reply)
		return;
	if (id) {
		id += 5;
		while (*id == ' ')
			id++;
		length = strcspn(id, ",} ");
	}
	if (found)
		fprintf(reply, "{\"jsonrpc\":\"2.0\",\"result\":%s,\"id\":%.*s}", found, length, id);
	else
		fprintf(reply, "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32601,\"message\":"
			"\"Method not found\"},\"id\":%.*s}", length, id);
	fclose(reply);
}

int mi_loop(const char *fifo, const char *replies, const char *pid_file)
{
	char line[32768], path[1024], *name, *request;
	int ended = 0;
	FILE *requests, *pid;

	if (pid_file && (pid = fopen(pid_file, "w"))) {
		fprintf(pid, "%d\n", (int)getpid());
		fclose(pid);
	}
	unlink(fifo);
	if (mkfifo(fifo, 0600) || !(requests = fopen(fifo, "r+")))
		return 255;
	while (!ended && fgets(line, sizeof(line), requests)) {
		name = line + 1;
		if (line[0] != ':' || !(request = strchr(name, ':')))
			continue;
		*request++ = 0;
		if (!strchr(name, '/') && snprintf(path, sizeof(path), "%s/%s", replies, name) > 0)
			answer(path, request);
		ended = strstr(request, "\"kill\"") != 0;
	}
	unlink(fifo);
	if (pid_file)
		unlink(pid_file);
	return 0;
}
