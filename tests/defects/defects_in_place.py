"""Values that were never given, and accesses outside memory."""

from defect import ACROSS, COPY, FILLED, OUT, bounds, unset

UNINITIALISED = (
    unset(
        "registers",
        "%t = <<full {fill = 1.0}|alloc_registers>> : reg<f32, [16, 16], #rows>\n"
        "%u = add %t, 1.0\n" + OUT,
    ),
    unset(
        "shared memory",
        "%s = alloc_shared : shared<f32, [16, 16]>\n"
        "%t = load %x[0, 0] : reg<f32, [16, 16], #rows>\n<<store %s[0, 0], %t|>>\nbarrier\n"
        + ACROSS
        + OUT,
    ),
    unset(
        "the last row of shared memory",
        """
        %s = alloc_shared : shared<f32, [16, 16]>
        %h = load %x[0, 0] : reg<f32, [8, 16], #half>
        store %s[0, 0], %h
        store %s[<<8|7>>, 0], %h
        barrier
        """.replace("store %s[<<8|7>>", "barrier\nstore %s[<<8|7>>")
        + ACROSS
        + OUT,
    ),
    unset(
        "a loop that doesn't run",
        """
        %t = alloc_registers : reg<f32, [16, 16], #rows>
        %one = full {fill = 1.0} : reg<f32, [16, 16], #rows>
        for %k in 0 to <<%n|%n - 3>> {
          assign %t, %one
        }
        store %y[0, 0], %t
        """,
    ),
    unset(
        "a branch that is not taken",
        """
        %t = alloc_registers : reg<f32, [16, 16], #rows>
        %one = full {fill = 1.0} : reg<f32, [16, 16], #rows>
        if %n > <<1|5>> {
          assign %t, %one
        }
        store %y[0, 0], %t
        """,
    ),
    unset(
        "accumulators",
        """
        %c = <<full|alloc_registers>> : reg<f32, [16, 8]>
        %a = full {fill = 1.0} : reg<f16, [16, 16]>
        %b = full {fill = 1.0} : reg<f16, [16, 8]>
        mma %c, %a, %b
        store %y[0, 0], %c
        """,
    ),
    unset(
        "an operand of a product",
        """
        %c = full : reg<f32, [16, 8]>
        %a = <<full {fill = 1.0}|alloc_registers>> : reg<f16, [16, 16]>
        %b = full {fill = 1.0} : reg<f16, [16, 8]>
        mma %c, %a, %b
        store %y[0, 0], %c
        """,
    ),
    unset(
        "through a reduction",
        """
        %t = <<full {fill = 1.0}|alloc_registers>> : reg<f32, [16, 16], #rows>
        %u = reduce %t {dim = 1}
        store %y[0, 0], %u
        """,
    ),
    unset(
        "a scalar that decides",
        """
        %t = <<full {fill = 1.0}|alloc_registers>> : reg<f32, [1]>
        %v = item %t
        if %v > 0.0 {
          %u = full {fill = 1.0} : reg<f32, [16, 16], #rows>
          store %y[0, 0], %u
        }
        """,
        "depends on an uninitialised scalar",
    ),
    unset(
        "a scalar that is an address",
        """
        %t = <<full|alloc_registers>> : reg<i32, [1]>
        %v = item %t
        %u = load %x[%v, 0] : reg<f32, [16, 16], #rows>
        store %y[0, 0], %u
        """,
        "depends on an uninitialised scalar",
    ),
    unset(
        "a row that no copy fills",
        COPY.replace("[16, 16]}", "[<<16|15>>, 16]}") + "copy_async_commit\ncopy_async_wait\n"
        "barrier\n" + ACROSS + OUT,
    ),
    unset(
        "the other half of a byte",
        """
        %z = global_view %py : global<u4, [8, 16]>
        %s = alloc_shared : shared<u4, [8, 16]>
        %t = full {fill = 5} : reg<u4, [8, <<16|8>>], spatial(8, 1) * local(1, <<16|8>>)>
        store %s[0, 0], %t
        barrier
        %u = load %s[0, 0] : reg<u4, [8, 16], spatial(8, 1) * local(1, 16)>
        store %z[0, 0], %u
        """,
    ),
    unset(
        "chosen by a condition",
        """
        %i = arange : reg<i32, [64], spatial(64)>
        %t = alloc_registers : reg<f32, [64], spatial(64)>
        %one = full {fill = 1.0} : reg<f32, [64], spatial(64)>
        %inside = lt %i, <<64|63>>
        %v = where %inside, %one, %t
        %z = global_view %py : global<f32, [64]>
        store %z[0], %v
        """,
    ),
)

BOUNDS = (
    bounds(
        "a tile that begins one row too late",
        "%u = load %x[<<0|1>>, 0] {in_bounds = true} : reg<f32, [16, 16], #rows>\n" + OUT,
    ),
    bounds(
        "a tile that begins before the array",
        "%u = load %x[<<0|-1>>, 0] {in_bounds = true} : reg<f32, [16, 16], #rows>\n" + OUT,
    ),
    bounds(
        "a store one row too far",
        "%u = load %x[0, 0] : reg<f32, [16, 16], #rows>\n"
        "store %y[<<0|1>>, 0], %u {in_bounds = true}\n",
    ),
    bounds(
        "a loop with one turn too many",
        """
        for %k in 0 to %n + <<1|2>> {
          %u = load %x[%k * 4, 0] {in_bounds = true} : reg<f32, [4, 16], spatial(4, 16)>
          store %y[%k * 4, 0], %u
        }
        """,
    ),
    bounds(
        "rows gathered from behind the array",
        """
        %i = arange {dim = 0, start = <<0|1>>} : reg<i32, [16, 16], #rows>
        %u = gather %x[0, 0], %i {dim = 0, in_bounds = true} : reg<f32, [16, 16], #rows>
        """ + OUT,
    ),
    bounds(
        "rows scattered behind the array",
        """
        %i = arange {dim = 0, start = <<0|1>>} : reg<i32, [16, 16], #rows>
        %u = load %x[0, 0] : reg<f32, [16, 16], #rows>
        scatter %y[0, 0], %i, %u {dim = 0, in_bounds = true}
        """,
    ),
    bounds(
        "shared memory left at its end",
        FILLED + "%u = load %s[<<0|1>>, 0] {in_bounds = true} : reg<f32, [16, 16], #rows>\n"
        + OUT,
        "out of bounds|race: block|has no defined value",
    ),
    bounds(
        "a store that leaves shared memory",
        FILLED + "barrier\nstore %s[<<0|1>>, 0], %t {in_bounds = true}\n",
    ),
)  # fmt: skip
