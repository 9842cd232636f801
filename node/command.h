#ifndef NODE_COMMAND_H
#define NODE_COMMAND_H

/* The executable's one entry: `portolan COMMAND ...`. Each command is a row of a table in
 * command.c and a function here. Exit codes: 0 done and good; 1 the answer is no (a check
 * failed, a signature is wrong, a report is incomplete); 2 the call or a file is unusable. */

#define EXIT_GOOD 0
#define EXIT_NO 1
#define EXIT_USAGE 2

int command_main(int argc, char **argv);

/* argv[0] is the command's name. */
int command_node(int argc, char **argv);
int command_reload(int argc, char **argv);
int command_init(int argc, char **argv);
int command_token(int argc, char **argv);
int command_charter(int argc, char **argv);
int command_keys(int argc, char **argv);
int command_check(int argc, char **argv);
int command_explain(int argc, char **argv);
int command_verify(int argc, char **argv);
int command_report(int argc, char **argv);

#endif
