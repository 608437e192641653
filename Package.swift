// swift-tools-version: 6.1
import PackageDescription

/// The CPU targets run guest code in their inner loop: they are optimised in debug builds too (so that tests can boot
/// guests), and dynamic exclusivity checks are off for them alone. Their assertions are as in any debug build.
let hotPath: [SwiftSetting] = [
  .unsafeFlags(["-enforce-exclusivity=unchecked"]),
  .unsafeFlags(["-O", "-assert-config", "Debug"], .when(configuration: .debug)),
]

let package = Package(
  name: "vmctl",
  products: [
    .executable(name: "vmctl", targets: ["vmctl"]),
    .executable(name: "vmctl-vnc", targets: ["vmctl-vnc"]),
    .executable(name: "vmctl-view", targets: ["vmctl-view"]),
    .library(name: "VMCtlKit", targets: ["VMCtlKit"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
  ],
  targets: [
    .target(name: "CHost", cSettings: [.unsafeFlags(["-O2", "-msse4.2", "-mpopcnt"])]),
    .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .systemLibrary(name: "CSlirp", pkgConfig: "slirp", providers: [.apt(["libslirp-dev"])]),
    .systemLibrary(name: "CSodium", pkgConfig: "libsodium", providers: [.apt(["libsodium-dev"])]),
    .target(name: "CScreen"),
    .target(name: "CTLS", linkerSettings: [.linkedLibrary("ssl"), .linkedLibrary("crypto")]),
    .systemLibrary(name: "CCurses", providers: [.apt(["libncurses-dev"])]),
    .systemLibrary(name: "CSDL", providers: [.apt(["libsdl2-dev"])]),
    .systemLibrary(name: "CVNC", pkgConfig: "libvncserver", providers: [.apt(["libvncserver-dev"])]),
    .systemLibrary(name: "CZydis", providers: [.apt(["libzydis-dev"])]),
    .target(name: "GuestMemory", dependencies: ["CHost"], swiftSettings: hotPath),
    .target(name: "SavedState", dependencies: ["CZstd", "CSodium"], swiftSettings: hotPath),
    .target(name: "X86", dependencies: ["CHost", "CZydis", "GuestMemory", "SavedState"], swiftSettings: hotPath),
    .target(name: "DiskImages", dependencies: ["CZlib", "CZstd", "SavedState"], swiftSettings: hotPath),
    .target(name: "Devices", dependencies: ["GuestMemory", "SavedState", "DiskImages", "CZlib"]),
    .target(name: "HostNetwork", dependencies: ["CSlirp", "CSodium", "Devices"]),
    .target(
      name: "Machine",
      dependencies: ["CHost", "X86", "Devices", "DiskImages", "GuestMemory", "HostNetwork", "SavedState"],
      resources: [.embedInCode("Resources/vmctl-boot.bin")]),
    .target(
      name: "Teleport", dependencies: ["CSodium", "CTLS", "Machine", "X86", "SavedState", "GuestMemory", "DiskImages"]),
    .target(name: "Debugger", dependencies: ["Machine", "X86", "GuestMemory"]),
    .target(
      name: "Management",
      dependencies: [
        "CHost", "CScreen", "Debugger", "Devices", "Machine", "Teleport", "DiskImages", "GuestMemory", "HostNetwork",
        "SavedState", "X86",
        .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "Logging", package: "swift-log"),
      ]),
    .executableTarget(
      name: "vmctl",
      dependencies: [
        "CCurses", "Management", "Machine", "HostNetwork", "SavedState",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ]),
    // Programs of their own, so that hosts without their libraries run all the rest.
    .executableTarget(name: "vmctl-vnc", dependencies: ["CVNC", "Management"]),
    .executableTarget(name: "vmctl-view", dependencies: ["CSDL", "Management"]),
    // For other programs: nothing of the project is below it.
    .target(name: "VMCtlKit"),
    .systemLibrary(
      name: "CVNCClient", path: "Tests/CVNCClient", pkgConfig: "libvncclient", providers: [.apt(["libvncserver-dev"])]),
    .target(name: "CNativeOracle", path: "Tests/CNativeOracle"),
    .target(name: "GuestAssembly", path: "Tests/GuestAssembly"),
    .testTarget(
      name: "X86Tests", dependencies: ["X86", "CNativeOracle", "GuestAssembly"], exclude: ["Translator/Tables"]),
    .testTarget(name: "DevicesTests", dependencies: ["Devices", "CZlib"]),
    .testTarget(name: "HostNetworkTests", dependencies: ["HostNetwork", "Devices"]),
    .testTarget(name: "DiskImagesTests", dependencies: ["DiskImages"]),
    .testTarget(name: "SavedStateTests", dependencies: ["SavedState"]),
    .testTarget(name: "GuestMemoryTests", dependencies: ["GuestMemory"]),
    .testTarget(
      name: "MachineTests", dependencies: ["Machine", "Devices", "DiskImages", "HostNetwork", "SavedState", "X86"]),
    .testTarget(name: "DebuggerTests", dependencies: ["Debugger", "GuestAssembly", "Machine"]),
    .testTarget(name: "TeleportTests", dependencies: ["Teleport", "DiskImages"]),
    .testTarget(
      name: "ManagementTests",
      dependencies: ["Management", "Machine", "Teleport", "DiskImages", "HostNetwork"]),
    .testTarget(
      name: "WholeMachineTests", dependencies: ["CHost", "CVNCClient", "CZlib", "GuestAssembly", "VMCtlKit"]),
    .testTarget(name: "TidyTests"),
  ],
  swiftLanguageModes: [.v6]
)

// scripts/fuzz builds everything with coverage that libFuzzer follows, with assertions, and a program that ordinary builds
// do not have.
if Context.environment["VMCTL_FUZZ"] != nil {
  for target in package.targets where target.type == .regular {
    let flags = ["-sanitize=fuzzer", "-assert-config", "Debug", "-enable-testing"]
    target.swiftSettings = (target.swiftSettings ?? []) + [.unsafeFlags(flags)]
  }
  package.targets += [
    .systemLibrary(name: "CLibFuzzer", path: "Tests/CLibFuzzer"),
    .executableTarget(
      name: "Fuzz",
      dependencies: [
        "CLibFuzzer", "Devices", "DiskImages", "HostNetwork", "Machine", "Management", "SavedState", "Teleport", "X86",
      ],
      path: "Tests/Fuzz", exclude: ["seeds"]),
  ]
}

// scripts/sanitize --short builds the floors below Management and their tests, without the packages that only those above use.
if Context.environment["VMCTL_SANITIZE_SHORT"] != nil {
  let left = [
    "Management", "vmctl", "vmctl-vnc", "vmctl-view", "VMCtlKit", "ManagementTests", "WholeMachineTests", "TidyTests",
    "X86Tests",
    "CNativeOracle",
  ]
  package.products = []
  package.dependencies = []
  package.targets.removeAll { left.contains($0.name) }
}
