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
    .executable(name: "vmctl", targets: ["vmctl"])
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
    .target(name: "CTLS", linkerSettings: [.linkedLibrary("ssl"), .linkedLibrary("crypto")]),
    .systemLibrary(name: "CZydis", providers: [.apt(["libzydis-dev"])]),
    .target(name: "GuestMemory", dependencies: ["CHost"], swiftSettings: hotPath),
    .target(name: "SavedState", dependencies: ["CZstd", "CSodium"], swiftSettings: hotPath),
    .target(name: "X86", dependencies: ["CHost", "CZydis", "GuestMemory", "SavedState"], swiftSettings: hotPath),
    .target(name: "DiskImages", dependencies: ["SavedState"]),
    .target(name: "Devices", dependencies: ["GuestMemory", "SavedState", "DiskImages", "CZlib"]),
    .target(name: "HostNetwork", dependencies: ["CSlirp", "CSodium", "Devices"]),
    .target(
      name: "Machine",
      dependencies: ["CHost", "X86", "Devices", "DiskImages", "GuestMemory", "HostNetwork", "SavedState"],
      resources: [.embedInCode("Resources/vmctl-boot.bin")]),
    .target(
      name: "Teleport", dependencies: ["CSodium", "CTLS", "Machine", "X86", "SavedState", "GuestMemory", "DiskImages"]),
    .target(
      name: "Management",
      dependencies: [
        "CHost", "Machine", "Teleport", "DiskImages", "GuestMemory", "HostNetwork", "SavedState", "X86",
        .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "Logging", package: "swift-log"),
      ]),
    .executableTarget(
      name: "vmctl",
      dependencies: [
        "Management", "Machine", "HostNetwork", "SavedState",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ]),
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
    .testTarget(name: "TeleportTests", dependencies: ["Teleport", "DiskImages"]),
    .testTarget(name: "ManagementTests", dependencies: ["Management", "Machine", "Teleport", "DiskImages"]),
    .testTarget(name: "WholeMachineTests", dependencies: ["CHost", "CZlib", "GuestAssembly"]),
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
  let left = ["Management", "vmctl", "ManagementTests", "WholeMachineTests", "TidyTests", "X86Tests", "CNativeOracle"]
  package.products = []
  package.dependencies = []
  package.targets.removeAll { left.contains($0.name) }
}
