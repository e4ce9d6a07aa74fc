// Threads of a block as fibers: stacks that take turns on one processor.
#pragma once
#include <sanitizer/common_interface_defs.h>
#include <stdlib.h>
#include <sys/mman.h>
#ifndef __x86_64__
#include <ucontext.h>
#endif

const size_t STACK_BYTES = 256 << 10;  // a sanitizer's report is written on the fiber's stack

struct Fiber {
    char* stack = nullptr;
    size_t stack_bytes = 0;
    void* fake_stack = nullptr;  // AddressSanitizer's
    void (*entry)() = nullptr;
#ifdef __x86_64__
    void* top = nullptr;  // the stack pointer while another one runs
#else
    ucontext_t context;
#endif
};

#ifdef __x86_64__
extern "C" void emulator_switch(void** save, void* load);
asm(R"(
.text
.globl emulator_switch
.type emulator_switch, @function
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emulator_switch, .-emulator_switch
)");
#endif

inline void switch_fiber(Fiber& from, Fiber& to) {
    __sanitizer_start_switch_fiber(&from.fake_stack, to.stack, to.stack_bytes);
#ifdef __x86_64__
    emulator_switch(&from.top, to.top);
#else
    swapcontext(&from.context, &to.context);
#endif
    __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
}

// Make the fiber begin with entry() when it is next switched to; entry() never returns.
inline void prepare_fiber(Fiber& fiber, void (*entry)()) {
    if (!fiber.stack) {
        fiber.stack_bytes = STACK_BYTES;
        fiber.stack = (char*)mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (fiber.stack == MAP_FAILED) abort();
    }
    fiber.fake_stack = nullptr;
#ifdef __x86_64__
    void** top = (void**)(fiber.stack + STACK_BYTES);
    *--top = nullptr;         // where entry() would return to; it also aligns the stack as a call would
    *--top = (void*)entry;    // popped by ret
    for (int saved = 0; saved < 6; saved++) *--top = nullptr;
    fiber.top = top;
#else
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack;
    fiber.context.uc_stack.ss_size = fiber.stack_bytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, entry, 0);
#endif
}
