# Runs the code of `agentkernel eval --lang python`: `-e CODE` or `-p CODE`, or without CODE what comes on standard input. With -p the
# value of the last expression is printed, unless it is None.
def _boot():
    import sys
    import _frozen_importlib_external as files

    class Finder:
        """An event loop that has no socket to wake itself by: there are none here."""

        @staticmethod
        def find_spec(name, path=None, target=None):
            if name != "asyncio.selector_events":
                return None
            sys.meta_path.remove(Finder)
            spec = files.PathFinder.find_spec(name, path, target)
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                loop = module.BaseSelectorEventLoop
                loop._make_self_pipe = loop._close_self_pipe = loop._write_to_self = lambda self: None

            spec.loader.exec_module = exec_module
            return spec

    sys.meta_path.insert(0, Finder)
    mode, *code = sys.argv[1:]
    code = code[0] if code else sys.stdin.buffer.read()
    sys.argv[1:] = []
    scope = sys.modules["__main__"].__dict__
    del scope["_boot"]

    def last_value(code):
        import _ast

        tree = compile(code, "<string>", "exec", _ast.PyCF_ONLY_AST)
        if not tree.body or not isinstance(tree.body[-1], _ast.Expr):
            return compile(tree, "<string>", "exec"), None
        last = _ast.Expression(tree.body.pop().value)
        return compile(tree, "<string>", "exec"), compile(last, "<string>", "eval")

    try:
        if mode == "-p":
            statements, last = last_value(code)
            exec(statements, scope)
            value = eval(last, scope) if last else None
            if value is not None:
                print(value)
        else:
            # Not by compile(), whose first call takes 5 ms: it makes the types of all syntax trees.
            exec(code, scope)
    except SystemExit:
        raise
    except BaseException as why:
        # Without the frames of this very code.
        ours = (sys._getframe().f_code, last_value.__code__)
        trace = why.__traceback__
        while trace and trace.tb_frame.f_code in ours:
            trace = trace.tb_next
        why.__traceback__ = trace
        sys.excepthook(type(why), why, trace)
        sys.exit(1)


_boot()
