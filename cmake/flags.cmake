# Warnings and hardening of STYLE section 13.
set(PORTOLAN_WARNINGS
  -pedantic -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Wstrict-prototypes
  -Wmissing-prototypes -Wformat=2 -Wundef -Wvla -Wcast-qual -Wswitch-enum
  -Wimplicit-fallthrough -Wnull-dereference)
if(PORTOLAN_WERROR)
  list(APPEND PORTOLAN_WARNINGS -Werror)
endif()

add_compile_definitions(_GNU_SOURCE)
if(PORTOLAN_SANITIZE)
  add_compile_options(-fsanitize=${PORTOLAN_SANITIZE} -fno-omit-frame-pointer
                      -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${PORTOLAN_SANITIZE})
elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
  add_compile_options(-fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()
add_link_options(-Wl,-z,relro,-z,now)
include(CheckPIESupported)
check_pie_supported(LANGUAGES C)
