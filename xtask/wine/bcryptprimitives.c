/*
 * The random bytes of Rust's standard library on Windows come from ProcessPrng of bcryptprimitives.dll. Wine has that
 * DLL since 9.0; for an older Wine this one takes its place. SystemFunction036 is RtlGenRandom, which every Wine has.
 */
#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T length) {
    while (length) {
        ULONG part = length > 0x10000 ? 0x10000 : (ULONG)length;
        if (!SystemFunction036(buffer, part)) return FALSE;
        buffer += part;
        length -= part;
    }
    return TRUE;
}
